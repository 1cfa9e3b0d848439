# SPDX-License-Identifier: Apache-2.0
"""One switch process: ports, data path and P4Runtime server on one asyncio loop and its one thread, until a signal ends
it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import structlog
import uvloop
from hvchannel_privilege.capabilities import Capability
from hvchannel_privilege.start import give_up
from hvchannel_telemetry.exposition import MetricsAddressError, serving
from hvchannel_telemetry.log_levels import LogLevels
from hvchannel_telemetry.process_service import ProcessService
from prometheus_client import CollectorRegistry

from hvchannel_softswitch import logs, model, observed
from hvchannel_softswitch.metrics import SwitchCollector
from hvchannel_softswitch.p4runtime.device import SwitchDevice
from hvchannel_softswitch.p4runtime.mappings import MappingError, load_mappings
from hvchannel_softswitch.p4runtime.server import AddressError, P4RuntimeServer
from hvchannel_softswitch.p4runtime.tls import TlsError
from hvchannel_softswitch.start import Options, StartError, data_path
from hvchannel_softswitch.switch import DataPath
from hvchannel_softswitch.trace import Tracer
from hvchannel_softswitch.xdp.pinned import RUN

_log = structlog.get_logger(__name__)

_KEPT = (
    Capability.NET_ADMIN,  # XDP on a port, offload settings
    Capability.NET_RAW,  # packet sockets
    Capability.BPF,
    Capability.PERFMON,  # a program that computes with a packet's pointers
    # Root's only, who starts it in namespaces: the far ends of veths are in others, a bpffs may be (SYS_CHROOT: to go
    # into a mount namespace).
    Capability.SYS_ADMIN,
    Capability.SYS_PTRACE,
    Capability.SYS_CHROOT,
)

_COLLECT_AFTER = 100_000
"""Objects made and not yet freed, between two looks for garbage in cycles; some 20 MB."""


def run(
    options: Options, *, log_level: logs.LogLevel, log_json: bool | None = None, log_file: Path | None = None
) -> None:
    """Serves until SIGINT or SIGTERM. Raises StartError."""
    try:
        logs.configure(log_level, json=log_json, file=log_file)
    except OSError as error:
        raise StartError(f"--log-file: {log_file}: {error.strerror}") from error
    give_up(_KEPT, writes=_written(options))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(options))


def _written(options: Options) -> Iterator[Path]:
    """Files and folders that the switch writes to."""
    yield from (path for path in (options.pcap, options.trace_file, RUN) if path is not None)
    if options.address.startswith("unix:"):
        yield Path(options.address.removeprefix("unix:")).absolute().parent
    if options.metrics is not None and options.metrics.path is not None:
        yield options.metrics.path.absolute().parent


async def _serve(options: Options) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        mappings = load_mappings(options.translations) if options.translations is not None else None
    except MappingError as error:
        raise StartError(f"--translations: {error}") from error
    with _switch(options) as switch:
        server = P4RuntimeServer(
            options.device_id,
            SwitchDevice(switch),
            options.address,
            mappings,
            mode=options.socket_mode,
            tls=options.tls,
        )
        process = ProcessService(observed.health_of(switch), LogLevels(logs.OWN))
        server.add(observed.unary(process), observed.streaming(process))
        registry = CollectorRegistry()
        registry.register(SwitchCollector(switch, server.service))
        try:
            await server.start()
            async with serving(options.metrics, registry):
                _spare_the_collector()
                _log.info(
                    "listening", address=server.address, device_id=options.device_id, ports=len(switch.ports)
                )
                await stop.wait()
                _log.info("stopping")
        except (AddressError, MetricsAddressError, TlsError) as error:
            raise StartError(str(error)) from error
        finally:
            process.close()
            await server.stop()


def _spare_the_collector() -> None:
    """Table entries are many small objects that live long and make no cycles: by Python's defaults, a third of a big
    batch's time would go into visiting them again and again. What there is by now stays for good."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)


@contextlib.contextmanager
def _switch(options: Options) -> Iterator[DataPath[Any]]:
    """The switch with its ports open, its tracer set and its first program running."""
    with contextlib.ExitStack() as cleanup:
        switch = data_path(options)
        cleanup.callback(switch.stop)
        _set_tracer(switch, options, cleanup)
        if options.program is not None:
            _start_program(switch, options.program)
        try:
            switch.start()
        except PermissionError as error:
            raise StartError("packet sockets need root or CAP_NET_RAW") from error
        yield switch


def _start_program(switch: DataPath[Any], path: Path) -> None:
    try:
        switch.commit(switch.load(model.load(path.read_bytes())))
    except OSError as error:
        raise StartError(f"{path}: {error.strerror}") from error
    except model.ProgramError as error:
        raise StartError(f"{path}: {error}") from error


def _set_tracer(switch: DataPath[Any], options: Options, cleanup: contextlib.ExitStack) -> None:
    if options.trace_file is not None:
        try:
            tracer = Tracer(
                options.trace_file, as_json=True, limit=options.trace_limit, only=options.trace_filter
            )
        except OSError as error:
            raise StartError(f"--trace-file: {options.trace_file}: {error.strerror}") from error
    elif options.trace:
        tracer = Tracer(sys.stdout, as_json=False, limit=options.trace_limit, only=options.trace_filter)
    else:
        return
    cleanup.callback(tracer.close)
    switch.set_tracer(tracer)
