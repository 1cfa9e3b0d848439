# SPDX-License-Identifier: Apache-2.0
"""AF_PACKET ports on real veths, and pcap files."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
from hvchannel_softswitch.ports import AfPacketPort, PcapWriter, PortDown
from hvchannel_softswitch.ports.af_packet import insert_vlan_tag
from pyroute2 import IPRoute

ETHERNET = bytes.fromhex("020000000001 020000000002")
UNTAGGED = ETHERNET + bytes.fromhex("0800") + bytes(46)
TAGGED = ETHERNET + bytes.fromhex("81008ffe0800") + bytes(46)
DOUBLE_TAGGED = ETHERNET + bytes.fromhex("88a80007810000080800") + bytes(46)


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Polls, with a deadline."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


class Wire:
    """A veth pair: `near` for the port, `far` with a raw socket for the test."""

    def __init__(self) -> None:
        self.near, self.far = f"t-sw-n{os.getpid() % 10**6}", f"t-sw-f{os.getpid() % 10**6}"
        self._sockets: list[socket.socket] = []

    def plug(self, mtu: int = 1500) -> None:
        with IPRoute() as route:
            route.link("add", ifname=self.near, kind="veth", peer={"ifname": self.far})
            for name in (self.near, self.far):
                Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")
                route.link("set", index=route.link_lookup(ifname=name)[0], state="up", mtu=mtu)

    def unplug(self) -> None:
        with IPRoute() as route:
            for index in route.link_lookup(ifname=self.near):
                route.link("del", index=index)

    def socket(self) -> socket.socket:
        far = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        far.bind((self.far, 0))
        far.settimeout(5)
        self._sockets.append(far)
        return far

    def close(self) -> None:
        for far in self._sockets:
            far.close()
        self.unplug()


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire()
    wire.plug()
    yield wire
    wire.close()


@pytest.fixture
def port(wire: Wire) -> Iterator[AfPacketPort]:
    port = AfPacketPort(1, wire.near)
    port.open()
    yield port
    port.close()


def receive(port: AfPacketPort, count: int) -> list[bytes]:
    frames: list[bytes] = []

    def enough() -> bool:
        frames.extend(port.receive(32))
        return len(frames) >= count

    wait_for(enough, f"{count} frames")
    return frames


@pytest.mark.root
@pytest.mark.parametrize("frame", [UNTAGGED, TAGGED, DOUBLE_TAGGED], ids=["untagged", "802.1Q", "802.1ad"])
def test_a_frame_arrives_with_the_tags_it_was_sent_with(wire: Wire, port: AfPacketPort, frame: bytes) -> None:
    wire.socket().send(frame)
    assert receive(port, 1) == [frame]
    assert (port.statistics.rx_frames, port.statistics.rx_bytes) == (1, len(frame))


@pytest.mark.root
def test_what_a_port_sends_leaves_and_does_not_come_back(wire: Wire, port: AfPacketPort) -> None:
    far = wire.socket()
    port.send(TAGGED)
    wait_for(lambda: port.statistics.tx_frames == 1, "sent")
    assert len(far.recv(2000)) in (
        len(TAGGED),
        len(TAGGED) - 4,
    )  # the kernel strips the tag on this raw socket
    assert port.receive(32) == []


@pytest.mark.root
def test_frames_that_cannot_be_sent_are_counted(wire: Wire, port: AfPacketPort) -> None:
    port.send(UNTAGGED + bytes(3000))
    port.send(b"short")
    assert (port.statistics.tx_frames, port.statistics.tx_dropped) == (0, 2)
    port.close()
    port.send(UNTAGGED)
    assert port.statistics.tx_dropped == 3


@pytest.mark.root
def test_frames_for_other_stations_arrive_too(wire: Wire, port: AfPacketPort) -> None:
    wire.socket().send(bytes.fromhex("0a0b0c0d0e0f") + UNTAGGED[6:])
    assert receive(port, 1)[0][:6] == bytes.fromhex("0a0b0c0d0e0f")


@pytest.mark.root
def test_the_interface_is_promiscuous_while_the_port_is_open(wire: Wire, port: AfPacketPort) -> None:
    def promiscuity() -> int:
        with IPRoute() as route:
            return int(
                route.get_links(route.link_lookup(ifname=wire.near)[0])[0].get_attr("IFLA_PROMISCUITY")
            )

    assert promiscuity() == 1
    port.close()
    assert promiscuity() == 0


def test_an_interface_that_goes_is_down_until_it_is_back(wire: Wire, port: AfPacketPort) -> None:
    wire.unplug()

    def gone() -> bool:
        try:
            port.receive(1)
        except PortDown:
            return True
        return False

    wait_for(gone, "the port to notice")
    port.send(UNTAGGED)
    assert port.statistics.tx_dropped == 1
    port.close()
    assert not port.is_there()
    with pytest.raises(PortDown, match="does not exist or is down"):
        port.open()
    wire.plug()
    wait_for(port.is_there, "the interface")
    port.open()
    wire.socket().send(UNTAGGED)
    assert receive(port, 1) == [UNTAGGED]


@pytest.mark.root
def test_pcap_of_a_port(wire: Wire, tmp_path: Path) -> None:
    port = AfPacketPort(1, wire.near, pcap=tmp_path)
    port.open()
    far = wire.socket()
    far.send(TAGGED)
    receive(port, 1)
    port.send(UNTAGGED)
    port.close()
    assert (tmp_path / f"{wire.near}_in.pcap").read_bytes().endswith(TAGGED)
    assert (tmp_path / f"{wire.near}_out.pcap").read_bytes().endswith(UNTAGGED)


def test_pcap_format(tmp_path: Path) -> None:
    writer = PcapWriter(tmp_path / "x.pcap")
    writer.write(UNTAGGED)
    writer.write(TAGGED)
    data = (tmp_path / "x.pcap").read_bytes()
    writer.close()
    assert struct.unpack_from("<IHH", data) == (0xA1B23C4D, 2, 4)
    assert struct.unpack_from("<I", data, 20) == (1,)
    assert struct.unpack_from("<II", data, 24 + 8) == (len(UNTAGGED), len(UNTAGGED))
    assert data[40 : 40 + len(UNTAGGED)] == UNTAGGED
    assert data.endswith(TAGGED)


def test_insert_vlan_tag() -> None:
    assert insert_vlan_tag(UNTAGGED, 0x8FFE, 0x8100) == TAGGED


@pytest.mark.root
def test_checksum_offload_at_the_sender_is_told_once(wire: Wire, port: AfPacketPort) -> None:
    with IPRoute() as route:
        index = route.link_lookup(ifname=wire.far)[0]
        route.addr("add", index=index, address="169.254.77.1", prefixlen=24, broadcast="169.254.77.255")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender, structlog.testing.capture_logs() as logs:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, wire.far.encode())
        for _ in range(2):
            sender.sendto(b"hello", ("169.254.77.255", 9))
        receive(port, 2)
    assert [entry["interface"] for entry in logs] == [wire.near]
    assert "tx off" in logs[0]["remedy"]
