# SPDX-License-Identifier: Apache-2.0
import pytest
from hvchannel_lab.frames import carries, decode
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw

ENDS = Ether(src="02:68:76:00:00:01", dst="0a:00:00:00:00:01")
ADDRESSES = IP(src="169.254.1.1", dst="169.254.1.10")


@given(st.binary(min_size=1, max_size=100), st.sampled_from([TCP, UDP]), st.none() | st.integers(1, 4094))
def test_headers_and_payload_are_found_again(
    payload: bytes, transport: type[Packet], vlan: int | None
) -> None:
    tag = ENDS if vlan is None else ENDS / Dot1Q(vlan=vlan)
    frame = bytes(tag / ADDRESSES / transport(sport=40000, dport=2345) / Raw(payload))
    decoded = decode(frame.ljust(60, b"\0"))  # as Ethernet pads it
    assert (decoded.src_mac, decoded.dst_mac, decoded.vlan) == (ENDS.src, ENDS.dst, vlan)
    assert (decoded.src_ip, decoded.dst_ip) == ("169.254.1.1", "169.254.1.10")
    assert (decoded.src_port, decoded.dst_port) == (40000, 2345)
    assert decoded.payload == payload
    assert decoded.checksums_right


@pytest.mark.parametrize("transport", [TCP, UDP])
def test_a_changed_payload_or_address_shows_in_the_checksum(transport: type[Packet]) -> None:
    frame = bytearray(bytes(ENDS / ADDRESSES / transport(sport=1, dport=2) / Raw(b"payload")))
    for position in (-1, 14 + 19):  # the last byte of the payload; of the destination address
        frame[position] ^= 1
        assert not decode(bytes(frame)).checksums_right
        frame[position] ^= 1
    assert decode(bytes(frame)).checksums_right


def test_udp_without_a_checksum_is_right() -> None:
    assert decode(bytes(ENDS / ADDRESSES / UDP(sport=1, dport=2, chksum=0) / Raw(b"x"))).checksums_right


def test_arp_and_unknown_types() -> None:
    arp = decode(bytes(ENDS / ARP(psrc="169.254.1.1", pdst="169.254.1.10")))
    assert (arp.protocol, arp.src_ip, arp.dst_ip, arp.src_port) == (
        "arp",
        "169.254.1.1",
        "169.254.1.10",
        None,
    )
    other = decode(bytes(Ether(src=ENDS.src, dst=ENDS.dst, type=0x88B5) / Raw(b"x" * 46)))
    assert (other.protocol, other.src_ip, other.payload) == (None, None, b"")
    assert str(other) == "untagged, 02:68:76:00:00:01 > 0a:00:00:00:00:01"


@given(
    st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=4),
    st.integers(0, (1 << 32) - 1),
    st.data(),
)
def test_a_frame_is_found_in_what_gro_made_of_its_connection(
    payloads: list[bytes], first: int, data: st.DataObject
) -> None:
    which = data.draw(st.integers(0, len(payloads) - 1))
    sequence = (first + len(b"".join(payloads[:which]))) % (1 << 32)
    frame = bytes(ENDS / ADDRESSES / TCP(sport=1, dport=2, seq=sequence) / Raw(payloads[which]))
    merged = ENDS / ADDRESSES / TCP(sport=1, dport=2, seq=first, chksum=0xBEEF) / Raw(b"".join(payloads))
    assert carries(bytes(merged), frame)
    merged[TCP].dport = 3
    assert not carries(bytes(merged), frame)
    merged[TCP].dport = 2
    merged[Raw].load = bytes(byte ^ 1 for byte in merged[Raw].load)
    assert not carries(bytes(merged), frame)


def test_only_tcp_is_merged() -> None:
    one, two = (bytes(ENDS / ADDRESSES / UDP(sport=1, dport=2) / Raw(load)) for load in (b"ab", b"a"))
    assert carries(one, one)
    assert not carries(one, two)
