# SPDX-License-Identifier: Apache-2.0
"""Ports whose program runs in the kernel: a redirect between two of them, over real veths."""

from __future__ import annotations

import asyncio
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from hvchannel_softswitch.bpf import Program, VerifierError, XdpMode, load_program
from hvchannel_softswitch.bpf.syscall import Command, Descriptor, address, attributes, bpf
from hvchannel_softswitch.xdp.attachment import AttachError
from hvchannel_softswitch.xdp.features import Features
from hvchannel_softswitch.xdp.peers import plain_socket
from hvchannel_softswitch.xdp.ports import XdpPorts
from structlog.testing import capture_logs

from .assembler import DROP, R2, R3, SKB_VLAN_PUSH, assemble, call, leave, move_imm
from .redirects import MARK, redirect
from .wires import (
    HEADER,
    TYPE,
    Host,
    Wires,
    active_features,
    has_program,
    inside,
    ip,
    packet_socket,
    receive,
    wires,
)

pytestmark = pytest.mark.root


@pytest.fixture
def world() -> Iterator[Wires]:
    with wires() as made:
        yield made


@pytest.fixture
def make_ports(world: Wires) -> Iterator[Callable[..., XdpPorts]]:
    """Ports that run a redirect, stopped after the test."""
    made: list[tuple[XdpPorts, Program]] = []

    def make(*names: str, **program: object) -> XdpPorts:
        ports = XdpPorts(list(enumerate(names, 1)))
        loaded = redirect(ports, **program)  # type: ignore[arg-type]
        made.append((ports, loaded))
        ports.run(loaded)
        return ports

    yield make
    for ports, program in made:
        ports.stop()
        program.close()


def is_quiet(sock: socket.socket) -> bool:
    return not select.select([sock], [], [], 0)[0]


def test_frames_pass_both_ways(world: Wires, make_ports: Callable[..., XdpPorts]) -> None:
    a, b = world.host("p1").socket(), world.host("p2").socket()
    with capture_logs() as logs:
        ports = make_ports("p1", "p2")
    ups = [entry for entry in logs if entry["event"] == "port_up"]
    assert [(entry["port"], entry["interface"], entry["xdp"]) for entry in ups] == [
        (1, "p1", "native"),
        (2, "p2", "native"),
    ]
    assert ports.is_up(1)
    for length in (46, 1500):
        frame = HEADER + bytes(length)
        a.send(frame)
        assert receive(b) == frame
        b.send(frame)
        assert receive(a) == frame


def test_tags_in_the_frame_arrive(world: Wires, make_ports: Callable[..., XdpPorts]) -> None:
    a, b = world.host("p1").socket(), world.host("p2").socket()
    make_ports("p1", "p2")
    for tags in ("81008ffe", "88a80007", "88a8000781000008"):
        frame = HEADER[:12] + bytes.fromhex(tags) + TYPE + bytes(range(46))
        a.send(frame)
        assert receive(b) == frame


def tag_beside_the_frame(interface: str) -> Descriptor:
    """From now on, what leaves by `interface` has a tag that its driver is left to insert, as what a VLAN interface on
    it would send: by a tc program, as not every kernel has VLAN interfaces. Until what is returned is closed."""
    code = assemble(move_imm(R2, socket.htons(0x8100)), move_imm(R3, 7), call(SKB_VLAN_PUSH), leave(0))
    licence = b"Apache-2.0\0"
    load = struct.pack(
        "=IIQQIIQII16sII", 3, len(code) // 8, address(code), address(licence), 0, 0, 0, 0, 0, b"", 0, 47
    )
    with Descriptor(bpf(Command.PROG_LOAD, attributes(load))) as program:
        link = struct.pack(
            "=IIIIIIQ", program.fd, socket.if_nametoindex(interface), 47, 0, 0, 0, 0
        )  # BPF_TCX_EGRESS
        return Descriptor(bpf(Command.LINK_CREATE, attributes(link)))


def test_a_tag_that_the_sender_leaves_to_its_driver_arrives(
    world: Wires, make_ports: Callable[..., XdpPorts]
) -> None:
    one, two = world.host("p1"), world.host("p2")
    a, b = one.socket(), two.socket()
    with inside(one.namespace):
        tagging = tag_beside_the_frame("eth0")
    make_ports("p1", "p2")
    with tagging:
        a.send(HEADER + bytes(46))
        assert receive(b) == HEADER[:12] + bytes.fromhex("81000007") + TYPE + bytes(46)


@pytest.mark.parametrize("mtu", [3400, 9000])
def test_jumbo_frames_pass(world: Wires, make_ports: Callable[..., XdpPorts], mtu: int) -> None:
    a, b = world.host("p1", mtu=mtu).socket(), world.host("p2", mtu=mtu).socket()
    ports = make_ports("p1", "p2")
    assert ports.mode(1) is XdpMode.NATIVE
    frame = HEADER + bytes(range(200)) * (mtu // 200)
    a.send(frame)
    assert receive(b) == frame


def test_a_program_without_frags_runs_generic_where_frames_are_long(
    world: Wires, make_ports: Callable[..., XdpPorts]
) -> None:
    a, b = world.host("p1", mtu=9000).socket(), world.host("p2").socket()
    with capture_logs() as logs:
        ports = make_ports("p1", "p2", frags=False)
    assert (ports.mode(1), ports.mode(2)) == (XdpMode.GENERIC, XdpMode.NATIVE)
    (told,) = (entry for entry in logs if entry["event"].startswith("generic_xdp"))
    assert told["port"] == 1
    assert "MTU" in told["reason"]
    for sender, receiver in ((a, b), (b, a)):
        sender.send(HEADER + bytes(1000))
        assert receive(receiver) == HEADER + bytes(1000)


def test_a_driver_without_native_xdp_makes_all_ports_generic(
    world: Wires, make_ports: Callable[..., XdpPorts]
) -> None:
    a, b = world.host("p1").socket(), world.host("p2").socket()
    ip("link set lo up")
    with capture_logs() as logs:
        ports = make_ports("p1", "p2", "lo")
    assert [ports.mode(number) for number in (1, 2, 3)] == [XdpMode.GENERIC] * 3
    assert any("the driver of 'lo' has no native XDP" in entry.get("reason", "") for entry in logs)
    for sender, receiver in ((a, b), (b, a)):
        sender.send(HEADER + bytes(1000))
        assert receive(receiver) == HEADER + bytes(1000)


def addressed(world: Wires, mtu: int) -> tuple[Host, Host]:
    hosts = world.host("p1", mtu=mtu), world.host("p2", mtu=mtu)
    for number, host in enumerate(hosts, 1):
        ip(f"address add 10.9.0.{number}/24 dev eth0", host.namespace)
        ip("link set lo up", host.namespace)
    return hosts


@pytest.mark.parametrize("mtu", [1500, 9000])
@pytest.mark.parametrize("generic", [False, True])
def test_hosts_at_their_defaults_talk(
    world: Wires, make_ports: Callable[..., XdpPorts], mtu: int, generic: bool
) -> None:
    """TCP in both directions at once: segments cut and checksums right, or the kernel drops them."""
    one, two = addressed(world, mtu)
    ip("link set lo up")
    make_ports(*(("p1", "p2", "lo") if generic else ("p1", "p2")))
    listener = two.socket(socket.SOCK_STREAM)
    listener.bind(("10.9.0.2", 5000))
    listener.listen()
    payload = bytes(range(256)) * (16 << 10)  # 4 MiB

    def echo() -> None:
        served, _ = listener.accept()
        with served:
            served.settimeout(20)
            while data := served.recv(1 << 16):
                served.sendall(data)

    thread = threading.Thread(target=echo)
    thread.start()
    client = one.socket(socket.SOCK_STREAM)
    client.settimeout(20)
    client.connect(("10.9.0.2", 5000))
    sender = threading.Thread(target=lambda: (client.sendall(payload), client.shutdown(socket.SHUT_WR)))
    sender.start()
    came = bytearray()
    while data := client.recv(1 << 16):
        came += data
    sender.join()
    thread.join()
    assert bytes(came) == payload
    with inside(two.namespace):
        counters = Path("/proc/thread-self/net/snmp").read_text()
    tcp = [line.split() for line in counters.splitlines() if line.startswith("Tcp:")]
    assert dict(zip(*tcp, strict=True))["InCsumErrors"] == "0"


def test_a_datagram_larger_than_the_mtu_arrives(world: Wires, make_ports: Callable[..., XdpPorts]) -> None:
    one, two = addressed(world, 1500)
    make_ports("p1", "p2")
    receiver, sender = two.socket(socket.SOCK_DGRAM), one.socket(socket.SOCK_DGRAM)
    receiver.bind(("10.9.0.2", 5000))
    for size in (1, 1472, 20000):
        sender.sendto(bytes(size), ("10.9.0.2", 5000))
        assert receiver.recv(1 << 16) == bytes(size)


def test_a_program_is_replaced_without_losing_a_frame(
    world: Wires, make_ports: Callable[..., XdpPorts]
) -> None:
    swaps, window = 20, 64
    a, b = world.host("p1").socket(), world.host("p2").socket()
    ports = make_ports("p1", "p2", mark=1)
    programs = [redirect(ports, mark=mark) for mark in (2, 1)]
    came: list[tuple[int, int]] = []
    sent = count()
    swapped = threading.Event()

    def stream() -> None:
        """Never more under way than a veth's queue holds; so what is lost was lost by the exchange."""
        for _ in range(window):
            send()
        while not swapped.is_set():
            take()
            send()
        for _ in range(window):
            take()

    def send() -> None:
        a.send(HEADER + bytes(6) + next(sent).to_bytes(4, "big") + bytes(40))

    def take() -> None:
        frame = receive(b)
        came.append((int.from_bytes(frame[20:24], "big"), frame[MARK]))

    thread = threading.Thread(target=stream)
    thread.start()
    for swap in range(swaps):
        ports.run(programs[swap % 2])
    swapped.set()
    thread.join()
    assert [number for number, _ in came] == list(range(next(sent)))
    assert {mark for _, mark in came} == {1, 2}
    assert len(came) > window
    ports.run(programs[1])
    programs[0].close()


def test_a_refused_exchange_leaves_the_program_before(
    world: Wires, make_ports: Callable[..., XdpPorts]
) -> None:
    a, b = world.host("p1").socket(), world.host("p2", mtu=9000).socket()
    ports = make_ports("p1", "p2", mark=1)
    wrong = load_program(
        assemble(leave(DROP)), name="t_wrong"
    )  # without frags: p2's frames are too long for it
    with pytest.raises(AttachError, match=r"'p2'.*MTU"):
        ports.run(wrong)
    for sender, receiver in ((a, b), (b, a)):
        sender.send(HEADER + bytes(100))
        assert receive(receiver)[MARK] == 1
    wrong.close()


def test_all_programs_of_one_devmap_agree_in_frags(world: Wires, make_ports: Callable[..., XdpPorts]) -> None:
    ports = make_ports("p1")
    with pytest.raises(VerifierError, match="agree in `frags`"):
        redirect(ports, frags=False)


def test_two_switches_share_a_wire(world: Wires) -> None:
    """Each has a port on one end of it; each sets what the other's end needs, and neither's end hurts the other."""
    one, two = world.host("p1"), world.host("p4")
    ip("link add p2 type veth peer name p3")
    ip("link set p2 up")
    ip("link set p3 up")
    before = active_features("p2"), active_features("p3"), one.features(), two.features()
    switches = [XdpPorts([(1, "p1"), (2, "p2")]), XdpPorts([(1, "p3"), (2, "p4")])]
    programs = [redirect(ports) for ports in switches]
    for ports, program in zip(switches, programs, strict=True):
        ports.run(program)
    a, b = one.socket(), two.socket()
    for sender, receiver in ((a, b), (b, a)):
        sender.send(HEADER + bytes(1400))
        assert receive(receiver) == HEADER + bytes(1400)
    switches[0].stop()
    # What the second sends still reaches who looks at the first's end now.
    with inside(world.namespace):
        plain = packet_socket("p2")
    b.send(HEADER + bytes(60))
    assert receive(plain) == HEADER + bytes(60)
    plain.close()
    switches[1].stop()
    assert (active_features("p2"), active_features("p3"), one.features(), two.features()) == before
    for program in programs:
        program.close()


def test_statistics_are_the_interfaces(world: Wires, make_ports: Callable[..., XdpPorts]) -> None:
    a, b = world.host("p1").socket(), world.host("p2").socket()
    a.send(HEADER + bytes(46))  # before there is a program
    ports = make_ports("p1", "p2")
    for _ in range(10):
        a.send(HEADER + bytes(86))
        receive(b)
    assert ports.statistics(1).rx_frames == 10
    assert ports.statistics(1).rx_bytes >= 860  # a veth leaves the Ethernet header out
    assert ports.statistics(2).tx_frames == 10
    assert ports.statistics(2).rx_frames == 0


@pytest.mark.parametrize("give", ["p1", "p9"])
def test_what_cannot_be_a_list_of_ports(world: Wires, give: str) -> None:
    with pytest.raises(ValueError, match="given"):
        XdpPorts([(1, "p1"), (1 if give == "p9" else 2, give)])
    with pytest.raises(ValueError, match="0 to 511"):
        XdpPorts([(512, "p1")])


def test_stop_leaves_the_interfaces_as_they_were(world: Wires) -> None:
    hosts = world.host("p1"), world.host("p2")
    before = [active_features("p1"), active_features("p2"), *(host.features() for host in hosts)]
    ports = XdpPorts([(1, "p1"), (2, "p2")])
    program = redirect(ports)
    ports.run(program)
    assert hosts[0].features()["rx-gro"]
    ports.stop()
    program.close()
    assert not has_program("p1")
    assert [active_features("p1"), active_features("p2"), *(host.features() for host in hosts)] == before


def test_another_program_on_the_interface_is_told(world: Wires, make_ports: Callable[..., XdpPorts]) -> None:
    world.host("p1")
    make_ports("p1")
    with capture_logs() as logs:
        second = make_ports("p1")
    assert not second.is_up(1)
    (down,) = (entry for entry in logs if entry["event"].startswith("port_down"))
    assert "'p1' has another XDP program" in down["reason"]


async def eventually(condition: Callable[[], object], what: str) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 (what changes is in the kernel)
            await asyncio.sleep(0.005)
    assert condition(), what


async def test_a_port_vanishes_and_returns(world: Wires, make_ports: Callable[..., XdpPorts]) -> None:
    one, two = world.host("p1"), world.host("p2")
    ports = make_ports("p1", "p2")
    ports.start()
    with capture_logs() as logs:
        one.unplug()
        await eventually(lambda: not ports.is_up(1), "down")
        assert ports.is_up(2)
        assert ports.statistics(1).rx_frames == 0
        one.plug()
        await eventually(lambda: ports.is_up(1), "up")
    assert [entry["event"] for entry in logs if entry["event"].startswith("port")] == [
        "port_down",
        "port_up",
    ]
    assert one.features()["rx-gro"]
    a, b = one.socket(), two.socket()
    for sender, receiver in ((a, b), (b, a)):
        sender.send(HEADER + bytes(46))
        assert receive(receiver) == HEADER + bytes(46)


async def test_a_port_that_comes_late(world: Wires, make_ports: Callable[..., XdpPorts]) -> None:
    one, two = world.host("p1"), world.host("p2", plugged=False)
    with capture_logs() as logs:
        ports = make_ports("p1", "p2")
    assert [entry["reason"] for entry in logs if entry["event"].startswith("port_down")] == [
        "interface 'p2' does not exist or is down"
    ]
    ports.start()
    two.plug()
    await eventually(lambda: ports.is_up(2), "up")
    a, b = one.socket(), two.socket()
    a.send(HEADER + bytes(46))
    assert receive(b) == HEADER + bytes(46)


async def test_an_interface_set_down_and_up(world: Wires, make_ports: Callable[..., XdpPorts]) -> None:
    one, two = world.host("p1"), world.host("p2")
    ports = make_ports("p1", "p2")
    ports.start()
    ip("link set p2 down")
    await eventually(lambda: not ports.is_up(2), "down")
    ip("link set p2 up")
    await eventually(lambda: ports.is_up(2), "up")
    a, b = one.socket(), two.socket()
    a.send(HEADER + bytes(46))
    assert receive(b) == HEADER + bytes(46)


async def test_an_interface_that_moves_away_takes_no_program_along(
    world: Wires, make_ports: Callable[..., XdpPorts]
) -> None:
    world.host("p1")
    ports = make_ports("p1")
    ports.start()
    there = world.another_namespace()
    assert has_program("p1")
    ip(f"link set p1 netns {there}")
    await eventually(lambda: not ports.is_up(1), "down")
    assert not has_program("p1", there)


async def test_settings_made_before_the_peer_goes_up_are_repaired(
    world: Wires, make_ports: Callable[..., XdpPorts]
) -> None:
    """As who plugs a VNIC may set its offloads after we did, and then set it up."""
    one, two = world.host("p1"), world.host("p2")
    ip("link set eth0 down", two.namespace)
    ports = make_ports("p1", "p2")
    ports.start()
    with inside(two.namespace):
        features = Features(plain_socket())
    features.want("eth0", {"rx-gro": False, "tx-checksum-ip-generic": True})
    assert not two.features()["rx-gro"]
    ip("link set eth0 up", two.namespace)
    await eventually(lambda: two.features()["rx-gro"], "GRO is on again")
    a, b = one.socket(), two.socket()
    a.send(HEADER + bytes(46))
    assert receive(b) == HEADER + bytes(46)
    features.close()


async def test_an_interface_of_a_high_number(world: Wires, make_ports: Callable[..., XdpPorts]) -> None:
    one, two = world.host("p1", plugged=False), world.host("p2")
    ip(f"link add p1 index 70001 type veth peer name eth0 netns {one.namespace}")
    ip("link set p1 up")
    ip("link set eth0 up", one.namespace)
    ports = make_ports("p1", "p2")
    assert ports.ingress.entries() == {70001: 1, socket.if_nametoindex("p2"): 2}
    a, b = one.socket(), two.socket()
    for sender, receiver in ((a, b), (b, a)):
        sender.send(HEADER + bytes(46))
        assert receive(receiver) == HEADER + bytes(46)
    assert is_quiet(a)
