# SPDX-License-Identifier: Apache-2.0
"""The frames of a probe, as the hypervisor's kernel would send them: an ICMP echo request, a TCP SYN.

Their answers are told apart by their sizes, in the counters of the host vSwitch: that of the echo is large; a SYN-ACK
carries options, a RST has none.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address

from hvchannel_control.addresses import mac_to_int

ECHO_BYTES = 900
"""Of data in the echo request, hence in its answer: no acknowledgement or heartbeat is as large."""

RST_AT_MOST = 64
"""Bytes of a frame with a RST, tagged, and padded to the least size of Ethernet by some VNICs. A SYN-ACK with the
options that `syn` asks for has 78."""

_ETHER_TYPE_IPV4 = 0x0800
_ICMP, _TCP = 1, 6
_ECHO_REQUEST = 8
_SYN = 0x02
# maximum segment size 1460, SACK permitted, timestamps, no operation, window scale 7 (RFC 9293, 2018, 7323)
_OPTIONS = bytes.fromhex("020405b40402080a000000010000000001030307")


@dataclass(frozen=True, slots=True)
class Ends:
    """Addresses of a frame from the hypervisor to a VIF."""

    src_mac: str
    dst_mac: str
    src_ip: IPv4Address
    dst_ip: IPv4Address


def echo_request(ends: Ends, identifier: int, sequence: int) -> bytes:
    """An Ethernet frame. `identifier` and `sequence`: 16 bits each."""
    data = bytes(n & 0xFF for n in range(ECHO_BYTES))
    head = struct.pack("!BBHHH", _ECHO_REQUEST, 0, 0, identifier, sequence)
    checksum = _checksum(head + data)
    return _frame(ends, _ICMP, struct.pack("!BBHHH", _ECHO_REQUEST, 0, checksum, identifier, sequence) + data)


def syn(ends: Ends, src_port: int, dst_port: int, sequence: int) -> bytes:
    """An Ethernet frame that asks for a connection, with the options that kernels send."""
    offset_flags = (5 + len(_OPTIONS) // 4) << 12 | _SYN

    def segment(checksum: int) -> bytes:
        return (
            struct.pack("!HHIIHHHH", src_port, dst_port, sequence, 0, offset_flags, 64240, checksum, 0)
            + _OPTIONS
        )

    pseudo = ends.src_ip.packed + ends.dst_ip.packed + struct.pack("!BBH", 0, _TCP, len(segment(0)))
    return _frame(ends, _TCP, segment(_checksum(pseudo + segment(0))))


def _frame(ends: Ends, protocol: int, payload: bytes) -> bytes:
    def header(checksum: int) -> bytes:
        fixed = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0x4000, 64, protocol, checksum)
        return fixed + ends.src_ip.packed + ends.dst_ip.packed

    macs = b"".join(mac_to_int(mac).to_bytes(6, "big") for mac in (ends.dst_mac, ends.src_mac))
    return macs + struct.pack("!H", _ETHER_TYPE_IPV4) + header(_checksum(header(0))) + payload


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    total = sum(_words(data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _words(data: bytes) -> Iterable[int]:
    padded = data + bytes(len(data) % 2)
    return struct.unpack(f"!{len(padded) // 2}H", padded)
