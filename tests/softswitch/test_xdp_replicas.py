# SPDX-License-Identifier: Apache-2.0
"""Replicas on ports: they reach those that are in the group at that moment, with or without this process."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import pytest
from finsy.proto import p4r
from hvchannel_softswitch.bpf import Program, bpffs
from hvchannel_softswitch.bpf.syscall import Command, address, attributes, bpf
from hvchannel_softswitch.engine import Replica
from hvchannel_softswitch.p4runtime.device import SwitchDevice
from hvchannel_softswitch.p4runtime.replication import read_replication
from hvchannel_softswitch.p4runtime.service import P4RuntimeService
from hvchannel_softswitch.trace import Tracer
from hvchannel_softswitch.xdp.pinned import Pinned
from hvchannel_softswitch.xdp.ports import remove
from structlog.testing import capture_logs

from .multicast_program import (
    CPU_PORT,
    HERE,
    MACS,
    PORTS,
    PROGRAM,
    REWRITE,
    ROUTE,
    Live,
    arrived,
    fill,
    pinned_switch,
    push,
    pushed,
    receive_any,
    rewrite,
    route,
    to_group,
)
from .wires import TYPE, ip, receive, wires

pytestmark = pytest.mark.root

NAPI = 64
"""Frames that a driver takes before it sends what is to be sent."""

LIVE_FRAMES = 1 << 1
"""BPF_F_TEST_XDP_LIVE_FRAMES."""

NUMBER = slice(14 + 18, 14 + 22)
"""Of the frame, in what egress notes."""


@pytest.fixture
def live() -> Iterator[Live]:
    with wires() as world:
        made = Live(world)
        try:
            yield made
        finally:
            made.close()


@pytest.mark.parametrize("length", [46, 1470])
def test_each_member_gets_its_own_replica(live: Live, length: int) -> None:
    live.running()
    for _ in range(3):
        frame = live.send(payload=bytes(length))
        arrived(live, frame)
    assert live.send(mac=0x0200000000F1) == receive(live.sockets[1])
    assert live.quiet(*PORTS)


def test_a_burst_keeps_its_packets_apart(live: Live) -> None:
    """What egress writes of a packet is that of the frame that it is in, though the kernel runs ingress for as many
    frames as a NAPI poll may have before egress runs for the first."""
    engine, batches = live.running(), 20
    frame = MACS[0].to_bytes(6) + bytes(6) + TYPE + bytes(46)
    before = engine.read_register("MulticastIngress.arrived", 0)
    run_batches(engine.compiled.build(), frame, "p4", batches)
    numbers = []
    for _ in range(batches * NAPI):
        noted = receive_any(live.sockets[3])
        numbers.append(int.from_bytes(noted[NUMBER]))
        assert receive(live.sockets[1]) == frame
        assert receive(live.sockets[2]) == pushed(frame, 20)
    assert numbers == list(range(before, before + batches * NAPI))


def run_batches(program: Program, frame: bytes, interface: str, batches: int) -> None:
    """Frames that arrive by an interface, the NAPI budget at a time, and go where the program sends them."""
    context = struct.pack("=IIIIII", 0, len(frame), 0, socket.if_nametoindex(interface), 0, 0)
    test = struct.pack(
        "=IIIIQQIIIIQQIII4x", program.fd, 0, len(frame), 0, address(frame), 0, batches * NAPI, 0,
        len(context), 0, address(context), 0, LIVE_FRAMES, 0, NAPI,
    )  # fmt: skip
    bpf(Command.PROG_TEST_RUN, attributes(test))


def test_a_group_is_changed_under_a_stream(live: Live) -> None:
    """Each frame goes to the ports of one group or the other, with the instances of that."""
    engine = live.running()
    sets = ((Replica(1, 10), Replica(2, 20)), (Replica(1, 20), Replica(3, 40)))
    for turn, rid in enumerate((10, 20)):
        engine.insert(REWRITE, rewrite(1, rid), push(100 + turn))
    engine.insert(REWRITE, rewrite(3, 40), push(30))
    engine.set_multicast_group(7, sets[0])
    engine.flush()
    over = threading.Event()
    sent: list[int] = []

    def stream() -> None:
        number = 0
        while not over.is_set():
            live.sockets[4].send(MACS[0].to_bytes(6) + number.to_bytes(6) + TYPE + bytes(46))
            number += 1
            seen.append(tagged(receive(live.sockets[1])))
        sent.append(number)

    seen: list[tuple[int, int]] = []
    thread = threading.Thread(target=stream)
    thread.start()
    for turn in range(20):
        engine.set_multicast_group(7, sets[(turn + 1) % 2])
        engine.flush()
        goal = len(seen) + 5
        while len(seen) < goal:
            assert thread.is_alive()
            thread.join(0.001)
    over.set()
    thread.join()
    assert [number for number, _ in seen] == list(range(sent[0])), "port 1 is in both"
    old = [number for number, vlan in seen if vlan == 100]
    new = [number for number, vlan in seen if vlan == 101]
    assert len(old) + len(new) == len(seen)
    assert [tagged(receive(live.sockets[2])) for _ in old] == [(number, 20) for number in old]
    assert [tagged(receive(live.sockets[3])) for _ in new] == [(number, 30) for number in new]
    assert live.quiet(*PORTS)


def tagged(frame: bytes) -> tuple[int, int]:
    """The number that is its source, and its first tag."""
    assert frame[12:14] == b"\x81\x00"
    return int.from_bytes(frame[6:12]), int.from_bytes(frame[14:16])


def test_a_deleted_group_reaches_nobody(live: Live) -> None:
    engine = live.running()
    arrived(live, live.send())
    engine.set_multicast_group(7, None)
    engine.flush()
    live.send()
    assert live.send(mac=0x0200000000F1) == receive(live.sockets[1])  # what came before has been treated
    assert live.quiet(*PORTS)
    engine.set_multicast_group(7, (Replica(4, 1),))
    engine.flush()
    assert live.send() == receive(live.sockets[4])  # back to where it came from, as simple_switch has it
    assert live.quiet(*PORTS)


def test_sets_are_used_again(live: Live) -> None:
    engine = live.running()
    for turn in range(3):
        for group in range(100, 100 + 800):
            engine.set_multicast_group(group, (Replica(1, turn),))
        engine.flush()
    arrived(live, live.send())
    engine.insert(ROUTE, route(MACS[1]), to_group(899))
    engine.insert(REWRITE, rewrite(1, 2), push(2))
    engine.flush()
    frame = live.send(mac=MACS[1])
    assert receive(live.sockets[1]) == pushed(frame, 2)


def test_a_new_program_has_its_groups_in_place(live: Live) -> None:
    before = live.running()
    arrived(live, live.send())
    engine = live.switch.load(PROGRAM)
    fill(engine)
    engine.set_multicast_group(7, (Replica(2, 1), Replica(1, 1)))
    engine.flush()
    live.switch.commit(engine)
    before.close()
    frame = live.send()
    assert receive(live.sockets[1]) == receive(live.sockets[2]) == frame
    assert live.quiet(*PORTS)


def test_the_cpu_port_can_be_a_member(live: Live) -> None:
    engine = live.running()
    came: list[bytes] = []
    live.switch.on_cpu_frame = came.append
    engine.set_multicast_group(7, (Replica(CPU_PORT, 1), Replica(2, 20)))
    engine.insert(REWRITE, rewrite(CPU_PORT, 1), push(9))
    engine.flush()
    frame = live.send()
    assert receive(live.sockets[2]) == pushed(frame, 20)
    engine.drain()
    assert came == [pushed(frame, 9)]
    assert live.quiet(*PORTS)


def test_a_packet_out_is_replicated(live: Live) -> None:
    live.running()
    frame = MACS[0].to_bytes(6) + bytes(6) + TYPE + bytes(46)
    live.switch.inject(CPU_PORT, frame)
    arrived(live, frame)


def test_a_port_goes_and_comes_back(live: Live) -> None:
    async def scenario() -> None:
        live.switch.start()
        live.hosts[2].unplug()
        await until(lambda: 2 not in live.switch._ports.devices)
        frame = live.send()
        assert receive(live.sockets[1]) == frame
        receive_any(live.sockets[3])
        live.hosts[2].plug()
        live.sockets[2] = live.hosts[2].socket()
        await until(lambda: live.switch._ports.is_up(2))
        arrived(live, live.send())

    live.running()
    arrived(live, live.send())
    asyncio.run(scenario())


async def until(condition: Callable[[], bool]) -> None:
    """Lets the loop run until it holds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 (the kernel's state, of which nobody tells)
            await asyncio.sleep(0.005)


def test_traces_and_captures_have_the_replicas(live: Live, tmp_path: Path) -> None:
    sink = StringIO()
    engine = live.running(pcap=tmp_path)
    live.switch.set_tracer(Tracer(sink, as_json=True))
    frame = live.send()
    arrived(live, frame)
    engine.drain()
    (packet,) = (json.loads(line) for line in sink.getvalue().splitlines())
    assert {out["port"] for out in packet["out"]} == {1, 2, 3}
    assert {"port": 2, "frame": pushed(frame, 20).hex()} in packet["out"]
    assert {"multicast": 7, "to": [[1, 10], [2, 20], [3, 30]]} in packet["steps"]
    assert {"egress": 2, "instance": 20, "as": "replica"} in packet["steps"]
    live.switch.set_tracer(None)
    arrived(live, live.send())
    live.close()
    assert pushed(frame, 20) in (tmp_path / "p2_out.pcap").read_bytes()


# --- without this process ---------------------------------------------------------------------------------------------


@pytest.fixture
def killed(tmp_path: Path) -> Iterator[tuple[Live, Callable[[], Pinned]]]:
    """Hosts on four ports, whose switch has been killed."""
    place = tmp_path / "bpf"
    place.mkdir()
    bpffs.mount(place)

    def pinned() -> Pinned:
        return Pinned("t-multicast", run=tmp_path / "run", bpf=place)

    def killed() -> None:
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.softswitch.multicaster", "t-multicast", tmp_path / "run", place],
            cwd=HERE.parents[1],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert child.stdout is not None
            assert any(line.startswith("multicasting") for line in iter(child.stdout.readline, ""))
        finally:
            child.send_signal(signal.SIGKILL)
            child.communicate()

    try:
        with wires() as world:
            live = Live(world)
            killed()
            yield live, pinned
            if live.made is not None:
                live.close()
            else:
                remove(pinned())
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_replication_outlives_its_process(killed: tuple[Live, Callable[[], Pinned]]) -> None:
    live, pinned = killed
    for _ in range(3):
        arrived(live, live.send())
    switch = live.made = pinned_switch(pinned())
    service = P4RuntimeService(1, SwitchDevice(switch))
    engine = switch.engine
    assert engine is not None
    assert engine.multicast_groups() == {7: (Replica(1, 10), Replica(2, 20), Replica(3, 30))}
    assert service._running is not None
    (read,) = read_replication(service._running, p4r.PacketReplicationEngineEntry())
    assert read.multicast_group_entry.multicast_group_id == 7
    members = [(one.port, one.instance) for one in read.multicast_group_entry.replicas]
    assert members == [(b"\1", 10), (b"\2", 20), (b"\3", 30)]
    arrived(live, live.send())
    engine.set_multicast_group(7, (Replica(1, 10), Replica(4, 1), Replica(2, 20)))
    engine.flush()
    frame = live.send()
    assert receive(live.sockets[1]) == receive(live.sockets[4]) == frame
    assert receive(live.sockets[2]) == pushed(frame, 20)
    assert live.quiet(*PORTS)


def test_a_port_that_comes_back_to_the_next_process_is_a_member_again(
    killed: tuple[Live, Callable[[], Pinned]],
) -> None:
    live, pinned = killed
    live.hosts[2].unplug()
    frame = live.send()
    assert receive(live.sockets[1]) == frame
    assert receive_any(live.sockets[3])[-46:] == bytes(46)
    live.hosts[2].plug()
    live.sockets[2] = live.hosts[2].socket()
    switch = live.made = pinned_switch(pinned())
    left = switch.adopt()
    assert left is not None
    switch.load_adopted(PROGRAM, left)
    arrived(live, live.send())


def test_generic_ports_multicast_nothing_and_it_is_said(live: Live) -> None:
    """Its copies come to egress without what precedes the frame."""
    ip("link set lo up")
    with capture_logs() as logs:
        live.running({5: "lo"})
    (told,) = (entry for entry in logs if entry["event"] == "ports_without_multicast")
    assert set(told["ports"]) == {*PORTS, 5}
    live.send()
    assert live.send(mac=0x0200000000F1) == receive(live.sockets[1])
    assert live.quiet(*PORTS)
