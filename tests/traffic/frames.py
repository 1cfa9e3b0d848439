# SPDX-License-Identifier: Apache-2.0
"""Frames of the channel with seldom anything wrong about them, each made from a few random bytes.

Zeros mean the plainest choice everywhere, so that what hypothesis shrinks becomes a plain frame.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any


class Choices:
    """Decisions, taken one after the other from random bytes; when those are used up, the first of all."""

    def __init__(self, entropy: bytes) -> None:
        self._bytes = iter(entropy)

    def byte(self) -> int:
        return next(self._bytes, 0)

    def number(self, size: int) -> int:
        """Of `size` bytes."""
        return int.from_bytes(bytes(self.byte() for _ in range(size)), "big")

    def one(self, options: Any) -> Any:
        return options[self.byte() % len(options)]

    def seldom(self, of: int = 24) -> bool:
        """True once in so many times."""
        return self.byte() % of == of - 1


@dataclass(frozen=True)
class Talk:
    """Who speaks to whom, by which port and tag, so that the frame is delivered."""

    port: int
    vlan: int | None
    source: tuple[str, str]
    destination: tuple[str, str]


def frame(choose: Choices, talk: Talk, everybody: Sequence[tuple[str, str]]) -> bytes:
    """A frame of that talk, with at most a few things wrong about it, of which one may be who speaks. At least 14
    bytes.
    """
    source, destination, vlan = talk.source, talk.destination, talk.vlan
    if choose.seldom():
        source = (choose.one(everybody)[0], choose.one(everybody)[1])
    if choose.seldom():
        destination = (choose.one(everybody)[0], choose.one(everybody)[1])
    if choose.seldom():
        vlan = choose.one([None, 0, 4094, 7, 100, 4095, choose.number(2) & 0xFFF])
    kind = choose.one(["ip"] * 12 + ["arp"] * 2 + ["other", "noise"])
    if kind == "ip":
        ether_type, content = 0x0800, ipv4(choose, ip(source[1]), ip(destination[1]))
    elif kind == "arp":
        ether_type, content = 0x0806, arp(choose, source, destination)
        if not choose.seldom(3):
            destination = ("ff:ff:ff:ff:ff:ff", destination[1])
    elif kind == "other":
        ether_type = choose.one([0x86DD, 0x8100, 0x88A8, 0x9100, 0x88CC, choose.number(2)])
        content = choose.one([b"", ipv4(choose, ip(source[1]), ip(destination[1]))])
    else:
        noise = bytes(choose.byte() for _ in range(30))
        return (noise * 3)[: 14 + choose.byte() % 64].ljust(14, b"\0")
    tag = b""
    if vlan is not None:
        pcp_dei = 0 if not choose.seldom() else choose.byte() & 0xF
        tag = struct.pack(">HH", 0x8100, pcp_dei << 12 | vlan)
        if choose.seldom(20):  # a second tag, 802.1Q or 802.1ad
            tag = struct.pack(">HH", choose.one([0x8100, 0x88A8]), vlan) + tag
    whole = mac(destination[0]) + mac(source[0]) + tag + struct.pack(">H", ether_type) + content
    if choose.seldom(8):
        whole = whole[: 14 + choose.number(2) % max(1, len(whole) - 14)]
    return whole


def ipv4(choose: Choices, source: bytes, destination: bytes) -> bytes:
    protocol = choose.one([6, 6, 6, 17, 17, 1, choose.byte()])
    # A port that is dialled from, mostly: nothing else may come from a guest.
    ports = choose.number(4) | (0x8000 if not choose.seldom(8) else 0)
    payload = bytes([choose.byte()]) * choose.one([0, 1, 2, 7, 40, 200, 1000, 1440])
    if protocol == 6:
        flags = choose.one([0x10, 0x18, 0x02, 0x12, 0x04, 0x11, 0xC2, 0x00, choose.byte()])
        head = struct.pack(">IIIBBHHH", ports, choose.number(4), choose.number(4), 0x50, flags, 512, 0, 0)
        body = with_checksum(choose, head + payload, 16, source + destination, 6)
    elif protocol == 17:
        head = struct.pack(">IHH", ports, 8 + len(payload), 0)
        body = with_checksum(choose, head + payload, 6, source + destination, 17)
        if choose.seldom(4):
            body = body[:6] + b"\0\0" + body[8:]
    else:
        body = bytes([choose.one([8, 8, 8, 0, 3, choose.byte()]), 0]) + payload
    first, fragment, options = 0x45, choose.one([0, 0x4000, 0x8000]), b""
    if choose.seldom():
        first = choose.one([0x46, 0x44, 0x4F, 0x40, 0x65, 0x05, choose.byte()])
        options = b"\x01" * choose.one([0, 4])
    if choose.seldom():
        fragment = choose.one([0x2000, 0x0001, 0x1FFF, 0x3FFF, choose.number(2)])
    length = 20 + len(body) if not choose.seldom() else choose.number(2)
    head = struct.pack(">BBHHHBBH", first, choose.byte(), length, choose.number(2), fragment, 64, protocol, 0)
    head += source + destination
    header_checksum = ones_complement(head) if not choose.seldom() else choose.number(2)
    return head[:10] + struct.pack(">H", header_checksum) + head[12:] + options + body


def with_checksum(choose: Choices, segment: bytes, at: int, addresses: bytes, protocol: int) -> bytes:
    pseudo = addresses + struct.pack(">HH", protocol, len(segment))
    value = ones_complement(pseudo + segment)
    value = choose.one([value, value, value, value, 0, 0xFFFF, 1, 0xFFFE, choose.number(2)])
    return segment[:at] + struct.pack(">H", value) + segment[at + 2 :]


def arp(choose: Choices, source: tuple[str, str], destination: tuple[str, str]) -> bytes:
    start = [1, 0x0800, 6, 4, 1]
    if choose.seldom(6):
        start[choose.byte() % 5] = choose.byte()
    sender = mac(source[0]) if not choose.seldom() else bytes([2, 0, 0, 0, 0, choose.byte()])
    padding = bytes([choose.byte()]) * choose.one([0, 18, 1])
    return struct.pack(">HHBBH", *start) + sender + ip(source[1]) + bytes(6) + ip(destination[1]) + padding


def ones_complement(data: bytes) -> int:
    """RFC 1071."""
    total = sum(struct.unpack(f">{len(data) // 2}H", data[: len(data) & ~1]))
    total += data[-1] << 8 if len(data) % 2 else 0
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def ip(text: str) -> bytes:
    return IPv4Address(text).packed
