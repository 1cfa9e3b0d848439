# SPDX-License-Identifier: Apache-2.0
"""A device on the desk in the place of a bench's switch: its P4Runtime server is up, its ports are wired to this
machine's interfaces."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.benches import BENCHES, Bench
from runner.catalogue import Test

CONNECT_SECONDS = 5
SECONDS = 3600  # for all tests
PROGRAMS = {"host": "host_vswitch", "guest": "guest_vswitch"}
"""By the bench whose switch it stands for. A chain would be two devices."""


class DeviceError(Exception):
    """The device cannot be used as it was described; the message says what would do."""


@dataclass(frozen=True)
class Wiring:
    """Where the device is, as a job carries it: PTF's interface at each port, and what it is to be loaded with."""

    grpc_addr: str
    interfaces: dict[str, str]  # by port: JSON's keys are strings
    p4info: str
    config: str


@dataclass(frozen=True)
class Device:
    """A target that is there already: nothing is started, no namespace made, one test runs at a time."""

    bench: str
    arch: str
    wiring: Wiring
    name: str = "device"
    own_mounts: bool = False
    at_once: bool = False  # one device, one batch
    seconds: int = SECONDS

    def __str__(self) -> str:
        return f"device at {self.wiring.grpc_addr}, {self.arch}"

    def tests(self, chosen: Sequence[Test]) -> list[Test]:
        """Those of the tests that are for its program. Raises DeviceError where none is."""
        mine = [test for test in chosen if test.bench == self.bench]
        if not mine:
            benches = ", ".join(sorted({test.bench for test in chosen}))
            raise DeviceError(
                f"no such test is for {PROGRAMS[self.bench]} alone: they are of {benches} (--bench)"
            )
        return mine

    def commands(self, bench: Bench, logs: Path, container: str | None) -> list[list[str]]:
        """None: its switch runs."""
        return []

    @contextlib.contextmanager
    def surroundings(self) -> Iterator[tuple[list[str], str | None]]:
        """The tests run where the interfaces are."""
        yield ["setpriv", "--pdeathsig", "KILL", "--"], None


def describe(bench: str, arch: str, grpc_addr: str, port_map: str, p4info: Path, config: Path) -> Device:
    """The device that somebody has described by these options. Raises DeviceError that names what is wrong."""
    interfaces = _interfaces(bench, port_map)
    for file in (p4info, config):
        if not file.is_file():
            raise DeviceError(
                f"there is no file {file}: what the device is loaded with is --p4info and --config"
            )
    _reach(grpc_addr)
    wiring = Wiring(grpc_addr, interfaces, str(p4info.absolute()), str(config.absolute()))
    return Device(bench, arch, wiring)


def _interfaces(bench: str, port_map: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in port_map.split(","):
        port, _, interface = pair.strip().partition("=")
        if not port.isdecimal() or not interface:
            raise DeviceError(f"--port-map: {pair!r} is not PORT=INTERFACE, as in 1=eth1,2=eth2,3=eth3")
        if interface not in (here := {name for _, name in socket.if_nameindex()}):
            there = ", ".join(sorted(here))
            raise DeviceError(f"--port-map: no interface {interface!r} here (there are: {there})")
        found[str(int(port))] = interface
    wanted = {plug.partition("-")[2] for plug in BENCHES[bench].plugs}
    if found.keys() != wanted:
        raise DeviceError(
            f"--port-map has ports {_listed(found)}: the tests of {PROGRAMS[bench]} use {_listed(wanted)}"
        )
    return found


def _listed(ports: Sequence[str] | dict[str, str] | set[str]) -> str:
    return ", ".join(sorted(ports, key=int))


def _reach(grpc_addr: str) -> None:
    host, _, port = grpc_addr.rpartition(":")
    if not host or not port.isdecimal():
        raise DeviceError(f"--grpc-addr: {grpc_addr!r} is not HOST:PORT, as in 192.0.2.7:9559")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise DeviceError(f"--grpc-addr: nobody listens at {grpc_addr}: {error}") from None
