# SPDX-License-Identifier: Apache-2.0
import socket
import struct
from collections.abc import Callable

import pytest
from hvchannel_lab.capture import Capture, CaptureTimeoutError
from hvchannel_lab.namespaces import inside
from hvchannel_lab.packet_socket import PacketSocket, with_tag
from hvchannel_lab.topology import Topology
from hypothesis import given
from hypothesis import strategies as st

from tests.lab.links import until_it_carries

MakeNetwork = Callable[..., Topology]
ETHERTYPE = 0x88B5  # IEEE 802 local experimental: nobody else sends it
SOURCE = b"\x02\x00\x00\x00\x00\x09"


def frame(topology: Topology, payload: bytes, tci: int | None = None) -> bytes:
    destination = bytes.fromhex(topology.vms[0].mac.replace(":", ""))
    untagged = destination + SOURCE + struct.pack("!H", ETHERTYPE) + payload.ljust(46, b"\0")
    return untagged if tci is None else with_tag(untagged, tci)


def sender(namespace: str, interface: str) -> socket.socket:
    """What is sent there arrives."""
    until_it_carries(namespace, interface)
    with inside(namespace):
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sock.bind((interface, 0))
    return sock


@given(st.binary(min_size=14, max_size=200), st.integers(0, 0xFFFF))
def test_a_tag_is_put_between_addresses_and_type(data: bytes, tci: int) -> None:
    tagged = with_tag(data, tci)
    assert tagged[:12] + tagged[16:] == data
    assert tagged[12:16] == b"\x81\x00" + tci.to_bytes(2, "big")


@pytest.mark.root
@pytest.mark.parametrize("tci", [None, 4094, 1, 0, 0xFFFF])
def test_both_ends_of_a_vnic_show_the_very_frame(make_network: MakeNetwork, tci: int | None) -> None:
    topology = make_network(vms=1)
    sent = frame(topology, b"the very frame", tci)
    hops = [PacketSocket(topology.hop(name)) for name in ("host/vnic1", "vm1/eth0")]
    with sender(topology.hypervisor.namespace, "vnic1") as sock, Capture(hops) as capture:
        sock.send(sent)
        leaving = capture.wait(lambda f: f.hop == "host/vnic1" and f.data == sent)
        arriving = capture.wait(lambda f: f.hop == "vm1/eth0" and f.data == sent)
        assert capture.dropped() == 0
    assert leaving.outgoing and not arriving.outgoing
    assert leaving.time <= arriving.time
    assert capture.frames("vm1/eth0", outgoing=False)[-1] == arriving  # still there after the end


@pytest.mark.root
def test_daemons_frames_have_their_checksums(make_network: MakeNetwork) -> None:
    """hostd0 leaves nothing to hardware: a datagram shows at hostd0s with a right UDP checksum (RFC 768)."""
    topology = make_network(vms=1)
    namespace = topology.hypervisor.namespace
    until_it_carries(namespace, "hostd0")
    with inside(namespace):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    with sock, Capture([PacketSocket(topology.hop("host/hostd0s"))]) as capture:
        sock.sendto(b"sum me up!", ("169.254.255.255", 9))
        seen = capture.wait(lambda f: f.data.endswith(b"sum me up!"))
    assert seen.checksum_ready
    packet = seen.data[14:]
    pseudo = packet[12:20] + struct.pack("!HH", 17, len(packet) - 20) + packet[20:]
    total = sum(struct.unpack(f"!{len(pseudo) // 2}H", pseudo))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    assert total == 0xFFFF


@pytest.mark.root
def test_what_was_waited_for_in_vain_is_said(make_network: MakeNetwork) -> None:
    topology = make_network(vms=1)
    with (
        sender(topology.hypervisor.namespace, "vnic1") as sock,
        Capture([PacketSocket(topology.hop("vm1/eth0"))]) as capture,
    ):
        sock.send(frame(topology, b"one"))
        capture.wait(lambda f: b"one" in f.data)
        with pytest.raises(CaptureTimeoutError, match=r"a reply: not seen within 0.1 s .*vm1/eth0 1"):
            capture.wait(lambda f: b"two" in f.data, timeout=0.1, what="a reply")


@pytest.mark.root
def test_the_ring_keeps_the_newest(make_network: MakeNetwork) -> None:
    topology = make_network(vms=1)
    hops = [PacketSocket(topology.hop("vm1/eth0"))]
    with sender(topology.hypervisor.namespace, "vnic1") as sock, Capture(hops, limit=3) as capture:
        for number in range(10):
            sock.send(frame(topology, b"number %d" % number))
            capture.wait(lambda f, n=number: b"number %d" % n in f.data)
    assert [f.data[14:22] for f in capture.frames()] == [b"number 7", b"number 8", b"number 9"]
    assert capture.seen == 10


@pytest.mark.root
def test_an_unplugged_hop_is_named(make_network: MakeNetwork) -> None:
    topology = make_network(vms=1)
    missing = topology.hop("vm1/eth0").model_copy(update={"interface": "eth7", "name": "vm1/eth7"})
    with pytest.raises(OSError, match="capture at vm1/eth7"), Capture([PacketSocket(missing)]):
        pass
