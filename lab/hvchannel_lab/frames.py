# SPDX-License-Identifier: Apache-2.0
"""What a captured frame says, by scapy (whose import takes its time: import this module where it is used)."""

from __future__ import annotations

from dataclasses import dataclass

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import ARP, Dot1Q, Ether


@dataclass(frozen=True, slots=True)
class Decoded:
    """A frame's headers. Fields of layers it lacks are None; `vlan` None: untagged."""

    src_mac: str
    dst_mac: str
    vlan: int | None
    src_ip: str | None
    dst_ip: str | None
    protocol: str | None  # "tcp", "udp", "arp", "ip"
    src_port: int | None
    dst_port: int | None
    sequence: int | None  # TCP's
    payload: bytes
    checksums_right: bool  # IPv4 header, TCP, UDP: those it has

    def __str__(self) -> str:
        tag = f"vlan {self.vlan}, " if self.vlan is not None else "untagged, "
        ends = ""
        if self.src_ip:
            ends = f", {_end(self.src_ip, self.src_port)} > {_end(self.dst_ip or '', self.dst_port)}"
        return f"{tag}{self.src_mac} > {self.dst_mac}{ends}"


def _end(address: str, port: int | None) -> str:
    return address if port is None else f"{address}:{port}"


def decode(data: bytes) -> Decoded:
    """Of a whole frame, from its destination MAC on. What a shorter one lacks of Ethernet's header counts as zeros."""
    packet = Ether(data.ljust(14, b"\0"))
    ip, tcp, udp, arp = (packet.getlayer(layer) for layer in (IP, TCP, UDP, ARP))
    transport = tcp or udp
    source, destination = (ip.src, ip.dst) if ip else (arp.psrc, arp.pdst) if arp else (None, None)
    return Decoded(
        src_mac=packet.src,
        dst_mac=packet.dst,
        vlan=packet[Dot1Q].vlan if Dot1Q in packet else None,
        src_ip=source,
        dst_ip=destination,
        protocol="tcp" if tcp else "udp" if udp else "arp" if arp else "ip" if ip else None,
        src_port=transport.sport if transport else None,
        dst_port=transport.dport if transport else None,
        sequence=tcp.seq if tcp else None,
        payload=_payload(ip, transport),
        checksums_right=_checksums_right(packet),
    )


def carries(data: bytes, frame: bytes) -> bool:
    """Whether `data` is that frame, or what the receiving kernel made of it and others of its TCP connection (GRO)."""
    if data == frame:
        return True
    whole, part = decode(data), decode(frame)
    if whole.sequence is None or part.sequence is None or not part.payload or _ends(whole) != _ends(part):
        return False
    offset = (part.sequence - whole.sequence) % (1 << 32)
    return whole.payload[offset : offset + len(part.payload)] == part.payload


def _ends(header: Decoded) -> tuple[object, ...]:
    macs = header.src_mac, header.dst_mac, header.vlan
    return *macs, header.src_ip, header.dst_ip, header.src_port, header.dst_port


def _payload(ip: IP | None, transport: TCP | UDP | None) -> bytes:
    """Without the padding that Ethernet adds to short frames."""
    if ip is None:
        return b""
    inner = transport if transport is not None else ip
    padding = inner.getlayer("Padding")
    content = bytes(inner.payload)
    return content[: len(content) - len(padding.load)] if padding is not None else content


def _checksums_right(packet: Ether) -> bool:
    """Recomputed from the very bytes and compared (RFC 791, 768, 9293). UDP's 0, "none", is right."""
    again = packet.copy()
    pairs = [(IP, "chksum"), (TCP, "chksum"), (UDP, "chksum")]
    present = [(layer, name) for layer, name in pairs if layer in packet]
    for layer, name in present:
        delattr(again[layer], name)
    again = Ether(bytes(again))
    return all(
        getattr(packet[layer], name) == getattr(again[layer], name)
        or (layer is UDP and getattr(packet[layer], name) == 0)
        for layer, name in present
    )
