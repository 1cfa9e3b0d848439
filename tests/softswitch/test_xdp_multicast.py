# SPDX-License-Identifier: Apache-2.0
"""Multicast groups of programs in the kernel: what comes of a frame is what the interpreter makes of it, and replicas
reach the ports that are in the group at that moment, with or without this process."""

from __future__ import annotations

import asyncio
import json
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from finsy.proto import p4r
from hvchannel_softswitch.bpf import bpffs
from hvchannel_softswitch.engine import ActionCall, Engine, EngineError, EntryKey, Exact, Replica
from hvchannel_softswitch.model import Program, UnsupportedProgram, load
from hvchannel_softswitch.p4runtime.device import SwitchDevice
from hvchannel_softswitch.p4runtime.replication import read_replication
from hvchannel_softswitch.p4runtime.service import P4RuntimeService
from hvchannel_softswitch.trace import Tracer
from hvchannel_softswitch.xdp.frames import CompiledEngine
from hvchannel_softswitch.xdp.pinned import Pinned
from hvchannel_softswitch.xdp.ports import remove
from hvchannel_softswitch.xdp.replication import MOST_GROUPS
from hvchannel_softswitch.xdp.switch import XdpSwitch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from .engine_pair import Pair, pair
from .wires import TYPE, Host, Wires, ip, receive, wires

pytestmark = pytest.mark.root

HERE = Path(__file__).parent
PROGRAM: Program = load((HERE / "programs" / "multicast.json").read_bytes())
ROUTE, REWRITE = "MulticastIngress.route", "MulticastEgress.rewrite"
CPU_PORT = 510
PORTS = (1, 2, 3, 4)
GROUPS = (1, 7, 65535)
MACS = tuple(range(0x020000000001, 0x020000000006))


def route(mac: int) -> EntryKey:
    return EntryKey((Exact(mac),))


def rewrite(port: int, rid: int) -> EntryKey:
    return EntryKey((Exact(port), Exact(rid)))


def to_group(group: int, mark: int = 0) -> ActionCall:
    return ActionCall("MulticastIngress.to_group", (group, mark))


def push(vlan: int) -> ActionCall:
    return ActionCall("MulticastEgress.push", (vlan,))


# --- against the interpreter ------------------------------------------------------------------------------------------

replicas = st.lists(
    st.builds(Replica, st.sampled_from((*PORTS, 511, CPU_PORT)), st.sampled_from((0, 1, 65535))),
    max_size=6,
    unique_by=lambda replica: replica.port,
).map(tuple)
groups = st.dictionaries(st.sampled_from(GROUPS), replicas)
routes = st.dictionaries(
    st.sampled_from(MACS),
    st.one_of(
        st.builds(lambda port: ActionCall("MulticastIngress.to_port", (port,)), st.sampled_from(PORTS)),
        st.builds(to_group, st.sampled_from((0, 5, *GROUPS)), st.integers(0, 255)),
        st.builds(
            lambda g: ActionCall("MulticastIngress.to_group_dropped", (g,)), st.sampled_from((0, *GROUPS))
        ),
        st.builds(lambda g: ActionCall("MulticastIngress.reported", (g,)), st.sampled_from(GROUPS)),
    ),
)
rewrites = st.dictionaries(
    st.tuples(st.sampled_from((*PORTS, CPU_PORT)), st.sampled_from((0, 1, 65535))),
    st.one_of(
        st.builds(push, st.integers(0, 4095)),
        st.sampled_from(
            [ActionCall(f"MulticastEgress.{name}", ()) for name in ("pop", "note", "drop", "keep")]
        ),
        st.builds(lambda length: ActionCall("MulticastEgress.cut", (length,)), st.integers(14, 80)),
    ),
)


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    mac, source = draw(st.sampled_from(MACS)), draw(st.integers(0, 2**48 - 1))
    tags = b"".join(
        b"\x81\x00" + draw(st.integers(0, 65535)).to_bytes(2) for _ in range(draw(st.integers(0, 4)))
    )
    whole = mac.to_bytes(6) + source.to_bytes(6) + tags + TYPE + draw(st.binary(max_size=60))
    return whole[: draw(st.integers(0, len(whole)))] if draw(st.integers(0, 9)) == 0 else whole


@pytest.fixture(scope="module")
def both() -> Iterator[Pair]:
    with pair(PROGRAM, CPU_PORT) as made:
        yield made


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    groups=groups,
    routes=routes,
    rewrites=rewrites,
    sent=st.lists(st.tuples(st.sampled_from(PORTS), frames())),
)
def test_replicas_are_those_of_the_interpreter(both, groups, routes, rewrites, sent):
    both.reset()
    for group in GROUPS:
        both.both("set_multicast_group", group, groups.get(group))
    assert both.both("multicast_groups") == groups
    for mac, call in routes.items():
        both.insert(ROUTE, route(mac), call)
    for (port, rid), call in rewrites.items():
        both.insert(REWRITE, rewrite(port, rid), call)
    both.flush()
    for port, frame in sent:
        both.now += 1_000_000
        both.process(port, frame)
    both.compare()


def test_ingress_and_egress_both_leave_their_marks(both):
    both.reset()
    both.both("set_multicast_group", 7, (Replica(1, 1), Replica(2), Replica(CPU_PORT, 65535)))
    both.insert(ROUTE, route(MACS[0]), ActionCall("MulticastIngress.reported", (7,)))
    both.insert(REWRITE, rewrite(1, 1), ActionCall("MulticastEgress.note", ()))
    both.insert(REWRITE, rewrite(CPU_PORT, 65535), push(9))
    both.flush()
    frame = MACS[0].to_bytes(6) + bytes(6) + b"\x81\x00\x00\x07" + TYPE + bytes(46)
    found = dict(both.process(4, frame))
    assert set(found) == {1, 2, CPU_PORT}
    assert found[2] == MACS[0].to_bytes(6) + (1).to_bytes(6) + b"\x81\x00" + bytes(46)
    assert found[CPU_PORT][12:18] == b"\x81\x00\x00\x09\x81\x00"
    assert found[1][12:20] == bytes.fromhex("88b6 05 01 0001 0040")
    assert both.told


def test_traces_are_those_of_the_interpreter(both):
    both.reset()
    both.both("set_multicast_group", 7, (Replica(1, 1), Replica(2), Replica(3)))
    both.both("set_multicast_group", 1, None)
    both.insert(ROUTE, route(1), ActionCall("MulticastIngress.reported", (7,)))
    both.insert(ROUTE, route(2), to_group(1))
    both.insert(ROUTE, route(3), ActionCall("MulticastIngress.to_port", (3,)))
    both.insert(REWRITE, rewrite(1, 1), ActionCall("MulticastEgress.drop", ()))
    both.insert(REWRITE, rewrite(2, 0), push(5))
    both.flush()
    told = []
    for engine in (both.reference, both.compiled):
        sink = StringIO()
        tracer = Tracer(sink, as_json=True)
        engine.set_tracer(tracer)
        for mac in (1, 2, 3, 4):
            engine.process(4, mac.to_bytes(6) + bytes(6) + TYPE + bytes(46))
        engine.set_tracer(None)
        told.append([{**json.loads(line), "time_ns": 0} for line in sink.getvalue().splitlines()])
    for side in both._sides:
        side.taken()
    assert told[0] == told[1]
    assert [len(packet["out"]) for packet in told[1]] == [2, 0, 1, 0]
    assert {"multicast": 7, "to": [[1, 1], [2, 0], [3, 0]]} in told[1][0]["steps"]


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("group", "members", "reason"),
    [
        (0, (), "multicast group 0 is not valid (valid: 1 to 65535)"),
        (65536, (), "multicast group 65536 is not valid (valid: 1 to 65535)"),
        (7, (Replica(512),), "multicast group 7: port 512 is not valid (valid: 0 to 511)"),
        (7, (Replica(1, 65536),), "multicast group 7: instance 65536 is not valid (valid: 0 to 65535)"),
        (
            7,
            (Replica(1, 2), Replica(2), Replica(1, 3)),
            "multicast group 7 has port 1 twice, with instances 2 and 3, and the kernel copies a frame to a port once: "
            "give the port one instance, or run the switch with --engine interpreter",
        ),
    ],
)
def test_groups_that_the_kernel_cannot_make_are_refused(both, group, members, reason):
    with pytest.raises(EngineError) as refusal:
        both.compiled.set_multicast_group(group, members)
    assert str(refusal.value) == reason
    assert 0 not in both.compiled.multicast_groups()


def test_there_is_an_end_to_groups(both):
    for group in list(both.compiled.multicast_groups()):
        both.compiled.set_multicast_group(group, None)
    for group in range(1, MOST_GROUPS + 1):
        both.compiled.set_multicast_group(group, (Replica(1),))
    with pytest.raises(EngineError, match=f"multicast group 5000: there are {MOST_GROUPS} groups"):
        both.compiled.set_multicast_group(5000, (Replica(1),))
    both.compiled.set_multicast_group(5, (Replica(2),))
    for group in list(both.compiled.multicast_groups()):
        both.compiled.set_multicast_group(group, None)


def test_programs_whose_packets_pass_twice_are_still_refused():
    program = load((HERE / "stf" / "copies.json").read_bytes())
    with pytest.raises(UnsupportedProgram, match="resubmit is used"):
        CompiledEngine(
            program, frames=lambda *_: None, digests=lambda *_: None, drop_port=511
        ).compiled.build()


# --- on ports ---------------------------------------------------------------------------------------------------------


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


@pytest.fixture
def live() -> Iterator[Live]:
    with wires() as world:
        made = Live(world)
        try:
            yield made
        finally:
            made.close()


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


@pytest.mark.parametrize("length", [46, 1470])
def test_each_member_gets_its_own_replica(live: Live, length: int) -> None:
    live.running()
    for _ in range(3):
        frame = live.send(payload=bytes(length))
        arrived(live, frame)
    assert live.send(mac=0x0200000000F1) == receive(live.sockets[1])
    assert live.quiet(*PORTS)


def test_a_burst_keeps_its_packets_apart(live: Live) -> None:
    """More frames at once than there are records: what egress writes of a packet is that of the frame it is in."""
    live.running()
    count = 2000
    for number in range(count):
        frame = MACS[0].to_bytes(6) + number.to_bytes(6) + TYPE + number.to_bytes(8) + bytes(38)
        live.sockets[4].send(frame)
    for port in (1, 2):
        came = [receive(live.sockets[port]) for _ in range(count)]
        assert [int.from_bytes(frame[6:12]) for frame in came] == list(range(count))
    for number in range(count):
        frame = receive_any(live.sockets[3])
        assert int.from_bytes(frame[6:12]) == number
        assert int.from_bytes(frame[21:30]) == number << 17


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


def pinned_switch(pinned: Pinned) -> XdpSwitch:
    return XdpSwitch([(port, f"p{port}") for port in PORTS], cpu_port=CPU_PORT, pinned=pinned)


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
    (told,) = (entry for entry in logs if "are not multicast" in entry["event"])
    assert set(told["ports"]) == {*PORTS, 5}
    live.send()
    assert live.send(mac=0x0200000000F1) == receive(live.sockets[1])
    assert live.quiet(*PORTS)
