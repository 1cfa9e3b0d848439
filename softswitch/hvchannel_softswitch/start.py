# SPDX-License-Identifier: Apache-2.0
"""What the command line says, and the switch that it asks for."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import structlog
from hvchannel_telemetry.metrics_address import MetricsAddress

from hvchannel_softswitch import bpf
from hvchannel_softswitch.choice import ChoosingSwitch
from hvchannel_softswitch.p4runtime.tls import ServerTls
from hvchannel_softswitch.ports import AfPacketPort
from hvchannel_softswitch.switch import DataPath, Switch
from hvchannel_softswitch.trace import Filter
from hvchannel_softswitch.xdp.pinned import NameInUseError, Pinned, default_name
from hvchannel_softswitch.xdp.ports import remove
from hvchannel_softswitch.xdp.switch import XdpSwitch

_log = structlog.get_logger(__name__)


class StartError(Exception):
    """The switch cannot start; the message says why, in one line."""


class EngineKind(StrEnum):
    """What runs the program."""

    AUTO = "auto"
    XDP = "xdp"
    INTERPRETER = "interpreter"


class SocketMode(StrEnum):
    """Of the server's unix socket: who may connect."""

    OWNER = "0600"
    GROUP = "0660"


@dataclass(frozen=True, slots=True)
class Options:
    """The command line, checked. `interfaces` are (port number, interface name); `name` is that of what outlives the
    process, None for the default."""

    interfaces: tuple[tuple[int, str], ...]
    program: Path | None
    device_id: int
    cpu_port: int | None
    drop_port: int
    address: str
    socket_mode: int = field(default=0o600, kw_only=True)  # of a unix socket, 0600 or 0660
    pcap: Path | None
    trace: bool
    trace_file: Path | None
    trace_limit: int | None
    translations: Path | None = None
    engine: EngineKind = EngineKind.AUTO
    name: str | None = None
    trace_filter: Filter = field(default_factory=Filter)
    tls: ServerTls | None = None
    metrics: MetricsAddress | None = None


def data_path(options: Options) -> DataPath[Any]:
    """The switch, its ports not yet open. Raises StartError."""
    if options.engine is EngineKind.INTERPRETER:
        return _interpreting(options)
    why_not = bpf.xdp_available()
    if why_not is not None:
        if options.engine is EngineKind.XDP:
            raise StartError(f"--engine xdp: {why_not}")
        _log.warning("xdp_unavailable", note="programs will be interpreted", reason=why_not)
        return _interpreting(options)
    kernel = _kernel(options)
    return (
        kernel if options.engine is EngineKind.XDP else ChoosingSwitch(kernel, lambda: _interpreting(options))
    )


def stop_left(options: Options) -> bool:
    """Ends what a process before this one left forwarding; whether there was anything. Raises StartError."""
    try:
        return remove(Pinned(_name(options)))
    except (NameInUseError, ValueError) as error:
        raise StartError(f"--stop: {error}") from error
    except OSError as error:
        raise StartError(f"--stop: {error.strerror}") from error


def _name(options: Options) -> str:
    return options.name or default_name(options.device_id, [name for _, name in options.interfaces])


def _kernel(options: Options) -> XdpSwitch:
    pinned = None
    if options.interfaces:  # else nothing could go on forwarding
        try:
            pinned = Pinned(_name(options))
        except (NameInUseError, ValueError) as error:
            raise StartError(f"--name: {error}") from error
        except OSError as error:
            raise StartError(f"nothing can be pinned: {error.strerror}") from error
    try:
        return XdpSwitch(
            options.interfaces,
            cpu_port=options.cpu_port,
            drop_port=options.drop_port,
            pinned=pinned,
            pcap=options.pcap,
        )
    except ValueError as error:
        if pinned is not None:
            pinned.clear()  # no switch with such interfaces has ever run
        raise StartError(f"--interface: {error}") from error
    except OSError as error:
        if pinned is not None:
            pinned.release()
        raise StartError(f"{error.filename or '--interface'}: {error.strerror}") from error


def _interpreting(options: Options) -> Switch:
    try:
        ports = [AfPacketPort(number, name, pcap=options.pcap) for number, name in options.interfaces]
        return Switch(ports, cpu_port=options.cpu_port, drop_port=options.drop_port)
    except ValueError as error:
        raise StartError(f"--interface: {error}") from error
    except OSError as error:
        raise StartError(f"--pcap: {error.filename}: {error.strerror}") from error
