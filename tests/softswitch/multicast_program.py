# SPDX-License-Identifier: Apache-2.0
"""The program of the tests of multicast, entries and a group for it, and hosts on four ports of its switch."""

from __future__ import annotations

import select
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hvchannel_softswitch.engine import ActionCall, Engine, EntryKey, Exact, Replica
from hvchannel_softswitch.model import Program, load
from hvchannel_softswitch.xdp.frames import CompiledEngine
from hvchannel_softswitch.xdp.pinned import Pinned
from hvchannel_softswitch.xdp.switch import XdpSwitch

from .wires import TYPE, Host, Wires, receive

HERE = Path(__file__).parent
PROGRAM: Program = load((HERE / "programs" / "multicast.json").read_bytes())
ROUTE, REWRITE = "MulticastIngress.route", "MulticastEgress.rewrite"
CPU_PORT = 510
PORTS = (1, 2, 3, 4)
MACS = tuple(range(0x020000000001, 0x020000000006))


def route(mac: int) -> EntryKey:
    return EntryKey((Exact(mac),))


def rewrite(port: int, rid: int) -> EntryKey:
    return EntryKey((Exact(port), Exact(rid)))


def to_group(group: int, mark: int = 0) -> ActionCall:
    return ActionCall("MulticastIngress.to_group", (group, mark))


def push(vlan: int) -> ActionCall:
    return ActionCall("MulticastEgress.push", (vlan,))


class Live:
    """Hosts on four ports, and the switch once there is one."""

    def __init__(self, world: Wires) -> None:
        self.world = world
        self.hosts: dict[int, Host] = {port: world.host(f"p{port}") for port in PORTS}
        self.sockets: dict[int, socket.socket] = {port: host.socket() for port, host in self.hosts.items()}
        self.made: XdpSwitch | None = None

    @property
    def switch(self) -> XdpSwitch:
        assert self.made is not None
        return self.made

    def running(self, more: Mapping[int, str] | None = None, **options: Any) -> CompiledEngine:
        """The program: what is sent to MACS[0] goes to group 7, which has ports 1, 2 and 3."""
        interfaces = {port: f"p{port}" for port in PORTS} | dict(more or {})
        switch = self.made = XdpSwitch(interfaces.items(), cpu_port=CPU_PORT, **options)
        engine = switch.load(PROGRAM)
        fill(engine)
        switch.commit(engine)
        return engine

    def close(self) -> None:
        """Ends the switch, if there is one."""
        if self.made is not None:
            self.made.stop()
            if self.made.engine is not None:
                self.made.engine.close()
            self.made = None

    def send(self, mac: int = MACS[0], port: int = 4, payload: bytes = bytes(46)) -> bytes:
        frame = mac.to_bytes(6) + bytes.fromhex("020000000099") + TYPE + payload
        self.sockets[port].send(frame)
        return frame

    def quiet(self, *ports: int) -> bool:
        return not select.select([self.sockets[port] for port in ports], [], [], 0)[0]


def fill(engine: Engine) -> None:
    engine.set_multicast_group(7, (Replica(1, 10), Replica(2, 20), Replica(3, 30)))
    engine.insert(ROUTE, route(MACS[0]), to_group(7, 0xAB))
    for port in PORTS:
        engine.insert(ROUTE, route(0x0200000000F0 + port), ActionCall("MulticastIngress.to_port", (port,)))
    engine.insert(REWRITE, rewrite(2, 20), push(20))
    engine.insert(REWRITE, rewrite(3, 30), ActionCall("MulticastEgress.note", ()))
    engine.flush()


def pushed(frame: bytes, vlan: int) -> bytes:
    return frame[:12] + b"\x81\x00" + vlan.to_bytes(2) + frame[12:]


def arrived(live: Live, frame: bytes) -> None:
    """The three replicas of a frame, each with its rewriting, and nothing anywhere else."""
    assert receive(live.sockets[1]) == frame
    assert receive(live.sockets[2]) == pushed(frame, 20)
    noted = receive_any(live.sockets[3])
    assert noted[12:14] == b"\x88\xb6"
    assert noted[14:18] == bytes((5, 3, 0, 30))
    assert noted[20] == 0xAB
    assert noted[-len(frame) + 12 :] == frame[12:]
    assert live.quiet(*PORTS)


def receive_any(sock: socket.socket) -> bytes:
    """The next frame, of whatever type."""
    return sock.recv(1 << 16)


def pinned_switch(pinned: Pinned) -> XdpSwitch:
    return XdpSwitch([(port, f"p{port}") for port in PORTS], cpu_port=CPU_PORT, pinned=pinned)
