# SPDX-License-Identifier: Apache-2.0
"""The incremental update of the P4 programs against recomputation from the bytes, over random packets."""

import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

HYPERVISOR_MAC, VIF_MAC = bytes.fromhex("026876000001"), bytes.fromhex("0a0000000001")
HYPERVISOR_IP, LIP, CIP = bytes([169, 254, 1, 1]), bytes([169, 254, 1, 10]), bytes([169, 254, 1, 2])
VLAN_TAG = bytes.fromhex("81000ffe")
TCP, UDP = 6, 17


def internet_checksum(data: bytes) -> int:
    """RFC 1071, from the words up."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def transport_checksum(protocol: int, source: bytes, destination: bytes, segment: bytes) -> int:
    """With the pseudo header (RFC 768, RFC 9293); a UDP checksum of zero is sent as all ones."""
    pseudo = source + destination + struct.pack("!BBH", 0, protocol, len(segment))
    computed = internet_checksum(pseudo + segment)
    return 0xFFFF if protocol == UDP and computed == 0 else computed


def datagram(protocol, source, destination, ports, filler, payload, no_checksum=False) -> bytes:
    """An IPv4 datagram whose checksums are computed from all its bytes."""
    if protocol == UDP:
        head, tail = struct.pack("!HHH", *ports, 8 + len(payload)), b""
    else:
        flags = 0x5010  # five words, ACK
        head, tail = (
            struct.pack("!HHIIHH", *ports, filler, filler ^ 0xFFFFFFFF, flags, filler & 0xFFFF),
            b"\0\0",
        )
    checksum = 0
    if not no_checksum:
        checksum = transport_checksum(protocol, source, destination, head + b"\0\0" + tail + payload)
    segment = head + struct.pack("!H", checksum) + tail + payload
    fixed = struct.pack(
        "!BBHHHBB", 0x45, 0, 20 + len(segment), filler & 0xFFFF, 0x4000, filler >> 24, protocol
    )
    header_checksum = internet_checksum(fixed + b"\0\0" + source + destination)
    return fixed + struct.pack("!H", header_checksum) + source + destination + segment


ANY_PORT, DIALLED_FROM = st.integers(0, 0xFFFF), st.integers(0x8000, 0xFFFF)


def packets(destination_port):
    return st.tuples(
        st.sampled_from([TCP, UDP]),
        st.tuples(ANY_PORT, destination_port),
        st.integers(0, 0xFFFFFFFF),
        st.binary(max_size=64),
    )


unhurried = settings(
    max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@unhurried
@given(packets(ANY_PORT))
def test_lip_to_cip_equals_recomputation(host, packet):
    protocol, ports, filler, payload = packet
    sent = (
        VIF_MAC
        + HYPERVISOR_MAC
        + b"\x08\x00"
        + datagram(protocol, HYPERVISOR_IP, LIP, ports, filler, payload)
    )
    host.outputs.clear()
    host.engine.process(1, sent)
    expected = datagram(protocol, HYPERVISOR_IP, CIP, ports, filler, payload)
    assert host.outputs == [(2, VIF_MAC + HYPERVISOR_MAC + VLAN_TAG + b"\x08\x00" + expected)]


@unhurried
@given(packets(DIALLED_FROM))
def test_cip_to_lip_equals_recomputation(host, packet):
    protocol, ports, filler, payload = packet
    datagram_sent = datagram(protocol, CIP, HYPERVISOR_IP, ports, filler, payload)
    host.outputs.clear()
    host.engine.process(2, HYPERVISOR_MAC + VIF_MAC + VLAN_TAG + b"\x08\x00" + datagram_sent)
    expected = datagram(protocol, LIP, HYPERVISOR_IP, ports, filler, payload)
    assert host.outputs == [(1, HYPERVISOR_MAC + VIF_MAC + b"\x08\x00" + expected)]


@unhurried
@given(st.integers(0, 0xFFFFFFFF), st.binary(max_size=64))
def test_udp_without_checksum_stays_without(host, filler, payload):
    sent = datagram(UDP, HYPERVISOR_IP, LIP, (1, 2), filler, payload, no_checksum=True)
    host.outputs.clear()
    host.engine.process(1, VIF_MAC + HYPERVISOR_MAC + b"\x08\x00" + sent)
    expected = datagram(UDP, HYPERVISOR_IP, CIP, (1, 2), filler, payload, no_checksum=True)
    assert host.outputs == [(2, VIF_MAC + HYPERVISOR_MAC + VLAN_TAG + b"\x08\x00" + expected)]


@pytest.mark.parametrize("wanted", [0x0000, 0xFFFF, 0x0001, 0xFFFE])
@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_a_checksum_at_the_edge_comes_out_as_recomputed(host, protocol, wanted):
    """A payload word chosen so that the checksum after the translation is the ones'-complement zero, or next to it."""
    for word in range(0x10000):
        payload = struct.pack("!H", word)
        expected = datagram(protocol, HYPERVISOR_IP, CIP, (1, 2), 7, payload)
        offset = 20 + (6 if protocol == UDP else 16)
        if struct.unpack_from("!H", expected, offset)[0] == wanted:
            break
    else:
        # UDP never sends zero; a TCP checksum is never all ones, since its pseudo header is not zero.
        assert (protocol, wanted) in {(UDP, 0x0000), (TCP, 0xFFFF)}
        return
    host.outputs.clear()
    sent = datagram(protocol, HYPERVISOR_IP, LIP, (1, 2), 7, payload)
    host.engine.process(1, VIF_MAC + HYPERVISOR_MAC + b"\x08\x00" + sent)
    assert host.outputs == [(2, VIF_MAC + HYPERVISOR_MAC + VLAN_TAG + b"\x08\x00" + expected)]
