# SPDX-License-Identifier: Apache-2.0
"""Attacks with frames, by name: what a guest's root sends, and the verdict that the host vSwitch gives each frame.

Where the verdict is "forwarded" the frame is of a kind that an honest guest sends as well, for the channel's one
address: it does reach the hypervisor's stack, and what the stack makes of it is what the tests look at.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from scapy.layers.inet import (
    ICMP,
    IP,
    TCP,
    UDP,
    IPOption_LSRR,
    IPOption_NOP,
    IPOption_RR,
    IPOption_SSRR,
    IPOption_Timestamp,
)
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_RA, IPv6
from scapy.layers.l2 import ARP, GRE, LLC, STP, Dot1AD, Dot1Q, Dot3, Ether
from scapy.packet import Packet, Raw

from tests.hostile_guest import HostileGuest

BROADCAST = "ff:ff:ff:ff:ff:ff"
MULTICAST = ("01:00:5e:00:00:01", "33:33:00:00:00:01", "01:80:c2:00:00:00", "01:00:0c:cc:cc:cc")
LISTENED_TCP, LISTENED_UDP = (22, 111, 443), (53, 4789, 6081, 32767)
"""Ports where the hypervisor's programs might listen, and in these tests do."""


class Established(NamedTuple):
    """hostd's connection to the guest: the hypervisor's port, and the guest's."""

    port: int
    guest_port: int


Build = Callable[[HostileGuest, Established, bytes], Iterable[Packet]]


class Attack(NamedTuple):
    """`build` makes the frames, each with the mark in it where it has room. `cut`: within their tag, so that the kernel
    itself drops them where the vSwitch has packet sockets."""

    verdict: str
    build: Build
    cut: bool = False


def _udp(guest: HostileGuest, mark: bytes, **ip: object) -> Packet:
    return guest.ip(**ip) / UDP(sport=9, dport=40009) / Raw(mark)


def _ip_with(guest: HostileGuest, mark: bytes, **fields: object) -> Packet:
    """A tagged datagram with these fields of its IPv4 header, right or wrong."""
    datagram = _udp(guest, mark)
    for name, value in fields.items():
        setattr(datagram[IP], name, value)
    return guest.tagged() / datagram


def _tcp(guest: HostileGuest, mark: bytes, flags: str, dport: int, sport: int = 2345, **tcp: int) -> Packet:
    return guest.tagged() / guest.ip() / TCP(sport=sport, dport=dport, flags=flags, **tcp) / Raw(mark)


def _arp(guest: HostileGuest, dst: str = BROADCAST, src: str | None = None, **arp: object) -> Packet:
    fields = {"op": 1, "hwsrc": guest.vm.mac, "psrc": guest.vif.cip, "pdst": guest.hypervisor_ip, **arp}
    return guest.tagged(dst=dst, src=src) / ARP(**fields)


def _other(guest: HostileGuest) -> tuple[str, str]:
    """The MAC and the LIP of the other guest."""
    return guest.lab.topology.vm("vm2").mac, guest.lab.vifs()["vm2"].lip


def _quoting(guest: HostileGuest, mark: bytes, **icmp: int) -> Iterable[Packet]:
    """ICMP errors that quote what the hypervisor would have sent to the other guest."""
    there = IP(src=guest.hypervisor_ip, dst=_other(guest)[1])
    for quoted in (ICMP(type=0, id=1), UDP(sport=40009, dport=9), TCP(sport=40009, dport=2345)):
        yield guest.tagged() / guest.ip() / ICMP(**icmp) / there / quoted / Raw(mark)


def _fragments(guest: HostileGuest, _: Established, mark: bytes) -> Iterable[Packet]:
    tiny = bytes(TCP(sport=2345, dport=40009, flags="S"))
    for flags, offset, part in (
        ("MF", 0, tiny[:8]),  # RFC 1858: the flags are in the second
        (0, 1, tiny[8:] + mark),
        ("MF", 0, bytes(UDP(sport=9, dport=40009, len=40)) + mark),
        (0, 1, mark * 2),  # overlaps what came before
        ("MF", 8189, mark),  # ends past 65,535 bytes
        (0, 0x1FFF, mark),
    ):
        yield guest.tagged() / guest.ip(flags=flags, frag=offset, id=77, proto=6) / Raw(part)


def _double(guest: HostileGuest, _: Established, mark: bytes) -> Iterable[Packet]:
    own = guest.vif.vlan
    for tags in (
        Dot1Q(vlan=own) / Dot1Q(vlan=own),
        Dot1Q(vlan=own) / Dot1Q(vlan=0),
        Dot1Q(vlan=own) / Dot1AD(vlan=own),
        Dot1Q(vlan=own) / Dot1Q(vlan=7) / Dot1Q(vlan=own),
    ):
        yield guest.ether() / tags / _udp(guest, mark)


def _other_outer(guest: HostileGuest, _: Established, mark: bytes) -> Iterable[Packet]:
    own = guest.vif.vlan
    for tags in (
        Dot1Q(vlan=0) / Dot1Q(vlan=own),
        Dot1Q(vlan=7) / Dot1Q(vlan=own),
        Dot1AD(vlan=own),
        Dot1AD(vlan=own) / Dot1Q(vlan=own),
    ):
        yield guest.ether() / tags / _udp(guest, mark)


def _ipv6(guest: HostileGuest, _: Established, mark: bytes) -> Iterable[Packet]:
    ours = IPv6(src="fe80::1", dst="ff02::1")
    for packet in (ours / UDP() / Raw(mark), ours / ICMPv6ND_RA(), ours / ICMPv6ND_NA(tgt="fe80::2")):
        yield guest.tagged(dst="33:33:00:00:00:01") / packet
        yield guest.tagged() / packet


def _every(flags: Iterable[str], ports: Iterable[int]) -> Build:
    chosen = list(ports)
    return lambda g, e, m: [_tcp(g, m, f, port) for f in flags for port in (*chosen, e.port)]


ATTACKS: dict[str, Attack] = {
    # who it is from
    "another MAC": Attack(
        "drop_spoofed",
        lambda g, e, m: [
            g.tagged(src=mac) / _udp(g, m)
            for mac in ("02:00:00:00:be:ef", _other(g)[0], g.hypervisor_mac, BROADCAST, "00:00:00:00:00:00")
        ],
    ),
    "another IP": Attack(
        "drop_spoofed",
        lambda g, e, m: [
            g.tagged() / _udp(g, m, src=ip)
            for ip in (_other(g)[1], g.vif.lip, g.hypervisor_ip, "127.0.0.1", "0.0.0.0", "224.0.0.1")
        ],
    ),
    "another VLAN": Attack(
        "drop_unattached",
        lambda g, e, m: [g.tagged(vlan=v) / _udp(g, m) for v in (1, 2, 100, 4093, 4095) if v != g.vif.vlan],
    ),
    "no tag": Attack("drop_unattached", lambda g, e, m: [g.ether() / _udp(g, m)]),
    "a priority tag": Attack(
        "drop_unattached",
        lambda g, e, m: [g.ether() / Dot1Q(vlan=0, prio=p) / _udp(g, m) for p in (0, 7)],
    ),
    "a tag in the tag": Attack("drop_ether_type", _double),
    "its tag in another": Attack("drop_unattached", _other_outer),
    # where it goes
    "the other guest": Attack(
        "drop_guest_to_guest", lambda g, e, m: [g.tagged(dst=_other(g)[0]) / _udp(g, m, dst=_other(g)[1])]
    ),
    "the other guest by another address": Attack(
        "drop_no_route",
        lambda g, e, m: [
            *(g.tagged(dst=_other(g)[0]) / _udp(g, m, dst=ip) for ip in (g.vif.cip, g.hypervisor_ip)),
            g.tagged() / _udp(g, m, dst=_other(g)[1]),
        ],
    ),
    "broadcast and multicast": Attack(
        "drop_no_route",
        lambda g, e, m: [
            g.tagged(dst=mac) / _udp(g, m, dst=ip)
            for mac in (BROADCAST, *MULTICAST)
            for ip in (g.hypervisor_ip, "255.255.255.255", "169.254.255.255", "224.0.0.1")
        ],
    ),
    "addresses behind the hypervisor": Attack(
        "drop_no_route",
        lambda g, e, m: [
            g.tagged() / _udp(g, m, dst=ip) for ip in ("127.0.0.1", "10.0.0.1", "169.254.169.254")
        ],
    ),
    # ARP
    "gratuitous ARP": Attack(
        "drop_arp_unknown",
        lambda g, e, m: [
            _arp(g, pdst=g.vif.cip),
            _arp(g, pdst=g.vif.cip, hwdst=BROADCAST),
            _arp(g, pdst=g.vif.lip),
        ],
    ),
    "ARP for the other guest": Attack("drop_arp_unknown", lambda g, e, m: [_arp(g, pdst=_other(g)[1])]),
    "ARP in another's name": Attack(
        "drop_spoofed",
        lambda g, e, m: [
            _arp(g, psrc=g.hypervisor_ip),
            _arp(g, psrc=_other(g)[1]),
            _arp(g, hwsrc=_other(g)[0]),
            _arp(g, hwsrc=g.hypervisor_mac, psrc=g.hypervisor_ip),
            _arp(g, src=_other(g)[0], hwsrc=_other(g)[0]),
            _arp(g, psrc="0.0.0.0"),
        ],
    ),
    "ARP answers and other operations": Attack(
        "drop_malformed",
        lambda g, e, m: [
            *(
                _arp(g, op=op, dst=dst)
                for op in (0, 2, 3, 4, 8, 9, 65535)
                for dst in (BROADCAST, g.hypervisor_mac)
            ),
            *(_arp(g, hwtype=6), _arp(g, ptype=0x86DD), _arp(g, hwlen=8), _arp(g, plen=16)),
        ],
    ),
    # IPv4
    "IPv4 options": Attack(
        "drop_malformed",
        lambda g, e, m: [
            g.tagged() / g.ip(options=options) / UDP(sport=9, dport=40009) / Raw(m)
            for options in (IPOption_NOP(), IPOption_RR(), IPOption_Timestamp(), [IPOption_NOP()] * 40)
        ],
    ),
    "source-routed packets": Attack(
        "drop_malformed",
        lambda g, e, m: [
            g.tagged() / g.ip(options=route(routers=[_other(g)[1]])) / UDP(sport=9, dport=40009) / Raw(m)
            for route in (IPOption_LSRR, IPOption_SSRR)
        ],
    ),
    "fragments": Attack("drop_malformed", _fragments),
    "a wrong header length or version": Attack(
        "drop_malformed",
        lambda g, e, m: [
            *(_ip_with(g, m, ihl=n) for n in (0, 1, 4, 6, 15)),
            *(_ip_with(g, m, version=n) for n in (0, 5, 6, 15)),
        ],
    ),
    "runts": Attack(
        "drop_malformed",
        lambda g, e, m: [
            *(Raw(bytes(_ip_with(g, m))[:n]) for n in (20, 37, 38, 45)),
            *(Raw(bytes(_tcp(g, m, "A", 40009))[:n]) for n in (38, 40, 57)),
            *(Raw(bytes(_arp(g))[:n]) for n in (20, 30, 45)),
            Raw(bytes(g.tagged() / g.ip() / ICMP())[:38]),
        ],
    ),
    "frames that end within their tag": Attack(
        "drop_malformed",
        lambda g, e, m: [Raw(bytes(one)[:n]) for one in (_ip_with(g, m), _arp(g)) for n in (18, 19)],
        cut=True,
    ),
    "a bare Ethernet header": Attack(
        "drop_unattached", lambda g, e, m: [Raw(bytes(g.ether() / Raw(b""))[:12] + b"\x08\0")]
    ),
    "a lying length": Attack(
        "forwarded", lambda g, e, m: [_ip_with(g, m, len=n) for n in (0, 19, 21, 1500, 65535)]
    ),
    "wrong checksums": Attack(
        "forwarded",
        lambda g, e, m: [
            _ip_with(g, m, chksum=0x1234),
            g.tagged() / g.ip() / UDP(sport=9, dport=40009, chksum=0x1234) / Raw(m),
            _tcp(g, m, "A", e.port, chksum=0x1234),
        ],
    ),
    "no time to live": Attack("forwarded", lambda g, e, m: [_ip_with(g, m, ttl=0)]),
    "the longest frame": Attack(
        "forwarded", lambda g, e, m: [g.tagged() / g.ip() / UDP(sport=9, dport=40009) / Raw(m + bytes(1444))]
    ),
    # other protocols
    "IPv6": Attack("drop_ether_type", _ipv6),
    "LLDP, PPPoE, MPLS, PTP, flow control": Attack(
        "drop_ether_type",
        lambda g, e, m: [
            Ether(src=g.vm.mac, dst=dst) / Dot1Q(vlan=g.vif.vlan, type=kind) / Raw(m)
            for dst in (g.hypervisor_mac, *MULTICAST)
            for kind in (0x88CC, 0x8863, 0x8847, 0x88F7, 0x8808, 0x88E5, 0x9000)
        ],
    ),
    "802.3 and spanning tree": Attack(
        "drop_unattached",
        lambda g, e, m: [Dot3(src=g.vm.mac, dst="01:80:c2:00:00:00") / LLC() / STP() / Raw(m)],
    ),
    "other IP protocols": Attack(
        "drop_protocol",
        lambda g, e, m: [
            *(g.tagged() / g.ip(proto=n) / Raw(m) for n in range(256) if n not in (1, 6, 17)),
            g.tagged() / g.ip() / GRE() / _udp(g, m),
        ],
    ),
    # ICMP
    "ICMP errors about the other guest": Attack(
        "drop_protocol",
        lambda g, e, m: [
            *_quoting(g, m, type=3, code=4, nexthopmtu=552),
            *_quoting(g, m, type=3, code=2),
            *_quoting(g, m, type=5, code=1),
            *_quoting(g, m, type=4),
            *_quoting(g, m, type=11),
            *_quoting(g, m, type=12),
        ],
    ),
    "other ICMP": Attack(
        "drop_protocol",
        lambda g, e, m: [
            g.tagged() / g.ip() / ICMP(type=n) / Raw(m)
            for n in range(256)
            if n not in (0, 8, 3, 5, 4, 11, 12)
        ],
    ),
    "an echo reply that nobody asked for": Attack(
        "forwarded",
        lambda g, e, m: [g.tagged() / g.ip() / ICMP(type=0, id=1, seq=n) / Raw(m) for n in range(3)],
    ),
    # TCP
    "SYN": Attack(
        "drop_new_connection",
        _every(("S", "SF", "SR", "SU", "SP", "SPUEC", "SFRPU"), (*LISTENED_TCP, 8080, 40022)),
    ),
    "FIN, null and Xmas scans": Attack(
        "drop_new_connection", _every(("F", "", "FPU", "P", "U", "EC"), (*LISTENED_TCP, 23, 8080, 40022))
    ),
    "ACK, FIN+ACK, RST to a listener": Attack(
        "drop_listener",
        lambda g, e, m: [
            _tcp(g, m, f, port) for f in ("A", "FA", "PA", "R", "RA", "SA", "SRA") for port in LISTENED_TCP
        ],
    ),
    "SYN+ACK out of the blue": Attack(
        "forwarded",
        lambda g, e, m: [
            _tcp(g, m, "SA", port, sport=sport) for port in (40022, e.port) for sport in (9, 443)
        ],
    ),
    "ACK to other ports": Attack(
        "forwarded",
        lambda g, e, m: [_tcp(g, m, f, port) for f in ("A", "FA", "PA") for port in (8080, 40022, 50051)],
    ),
    "RST at the connection, out of its window": Attack(
        "forwarded",
        lambda g, e, m: [
            _tcp(g, b"", f, e.port, sport=e.guest_port, seq=n << 24)
            for f in ("R", "RA")
            for n in (1, 0x55, 0xAA)
        ],
    ),
    "data at the connection, out of its window": Attack(
        "forwarded",
        lambda g, e, m: [
            _tcp(g, m, f, e.port, sport=e.guest_port, seq=3, ack=n << 24)
            for f in ("A", "FA")
            for n in (1, 0x77)
        ],
    ),
    "UDP to a listener": Attack(
        "drop_listener",
        lambda g, e, m: [
            g.tagged() / g.ip() / UDP(sport=sport, dport=port) / Raw(m)
            for port in LISTENED_UDP
            for sport in (9, 53, 4789)
        ],
    ),
}
