# SPDX-License-Identifier: Apache-2.0
"""Frames that no honest sender sends: each is dropped, counted once under the right verdict, and hurts nobody."""

from ptf.packet import IP, TCP, Dot1Q
from ptf.testutils import group

from vswitch.base import GuestTest, HostTest
from vswitch.channel import CIP, HYPERVISOR_IP, HYPERVISOR_MAC, VIF, VLAN
from vswitch.frames import arp_request, guest_frame, hypervisor_frame, link, to_guest, to_hypervisor


def ends(program):
    """Both ends, each with the function that makes its frames."""
    return (program.hypervisor, hypervisor_frame), (program.guest, guest_frame)


class Header:
    """Not version 4, not five words long: a header with options, or one that lies about itself."""

    def runTest(self):
        for end, make in ends(self.program):
            for fields in (
                *({"ihl": ihl} for ihl in (0, 1, 4, 6, 15)),
                *({"version": version} for version in (0, 3, 5, 6, 15)),
                {"options": b"\x01\x01\x01\x00"},
            ):
                with self.subTest(port=end.port, **fields):
                    self.assert_dropped(end.port, make(self.program, **fields), "drop_malformed")


class Fragments:
    """No fragment passes, first, middle or last: only the first has the ports that are to be checked."""

    def runTest(self):
        for end, make in ends(self.program):
            for fields in ({"flags": "MF"}, {"flags": "MF", "frag": 1}, {"frag": 1}, {"frag": 0x1FFF}):
                with self.subTest(port=end.port, **fields):
                    self.assert_dropped(end.port, make(self.program, **fields), "drop_malformed")


class NotFragments:
    """Don't-fragment is no fragment."""

    def runTest(self):
        for way in (to_guest, to_hypervisor):
            self.assert_passes(way(self.program, flags="DF"))


class EtherTypes:
    """Nothing but IPv4 and ARP, not even what looks like it."""

    def runTest(self):
        for end, make in ends(self.program):
            for ether_type in (
                0x0000,
                0x002E,
                0x05DC,
                0x0801,
                0x0842,
                0x8035,
                0x86DD,
                0x8847,
                0x88CC,
                0x9000,
                0xFFFF,
            ):
                with self.subTest(port=end.port, ether_type=hex(ether_type)):
                    frame = make(self.program)
                    frame[IP].underlayer.type = ether_type
                    self.assert_dropped(end.port, frame, "drop_ether_type")


class VlanInVlan:
    """A tag within the tag: the inner one never counts, even where it is the channel's."""

    def runTest(self):
        for end, make in ends(self.program):
            for inner in (0, 7, VLAN):
                if end.vlan is None:
                    continue
                with self.subTest(port=end.port, inner=inner):
                    plain = make(self.program)
                    frame = link(end, plain.src, plain.dst) / Dot1Q(vlan=inner) / plain[IP]
                    self.assert_dropped(end.port, frame, "drop_ether_type")
                    frame[Dot1Q].vlan = 7
                    self.assert_dropped(end.port, frame, "drop_unattached")


class ServiceTag:
    """An 802.1ad tag is no 802.1Q tag: to this switch the frame has none."""

    def runTest(self):
        for end, make in ends(self.program):
            plain = make(self.program)
            frame = link(end, plain.src, plain.dst)
            frame = frame.copy() if end.vlan else frame / Dot1Q(vlan=VLAN)
            frame.type = 0x88A8
            verdict = "drop_unattached" if end.vlan else "drop_ether_type"
            with self.subTest(port=end.port):
                self.assert_dropped(end.port, frame / plain[IP], verdict)


class Arp:
    """ARP that is not a request for an IPv4 address on Ethernet."""

    def runTest(self):
        for end, mac, ip, target in (
            (self.program.hypervisor, HYPERVISOR_MAC, HYPERVISOR_IP, self.program.vif_ip),
            (self.program.guest, VIF.mac, CIP, HYPERVISOR_IP),
        ):
            for field, value in (
                ("hwtype", 0),
                ("hwtype", 6),
                ("ptype", 0x86DD),
                ("hwlen", 8),
                ("plen", 16),
                ("op", 0),
                ("op", 2),
                ("op", 3),
                ("op", 0xFFFF),
            ):
                with self.subTest(port=end.port, field=field, value=value):
                    frame = bytearray(bytes(arp_request(end, mac, ip, target)))
                    offset, size = {
                        "hwtype": (0, 2),
                        "ptype": (2, 2),
                        "hwlen": (4, 1),
                        "plen": (5, 1),
                        "op": (6, 2),
                    }[field]
                    start = len(link(end, mac, mac)) + offset
                    frame[start : start + size] = value.to_bytes(size, "big")
                    self.assert_dropped(end.port, bytes(frame), "drop_malformed")


class Runts:
    """A frame that ends within a header, at whichever byte. (The kernel sends no frame below 14 bytes, and drops a
    tagged one below 20 before any switch sees it.)"""

    def runTest(self):
        for end, make in ends(self.program):
            start = len(link(end, VIF.mac, VIF.mac))
            shortest = 14 if end.vlan is None else 20
            udp, tcp = make(self.program), make(self.program, TCP(dport=40000, flags="A"))
            arp = arp_request(end, udp.src, udp[IP].src, udp[IP].dst)
            cuts = [(udp, start + cut) for cut in (0, 1, 2, 10, 19, 20, 21, 27)]
            cuts += [(tcp, start + cut) for cut in (20, 28, 39)] + [(arp, start + cut) for cut in (2, 14, 27)]
            for frame, length in cuts:
                if length >= shortest:
                    with self.subTest(
                        port=end.port, length=length, protocol=frame.lastlayer().underlayer.name
                    ):
                        self.assert_dropped(end.port, bytes(frame)[:length], "drop_malformed")


@group("host")
class HostMalformedHeader(Header, HostTest):
    pass


@group("guest")
class GuestMalformedHeader(Header, GuestTest):
    pass


@group("host")
class HostMalformedFragments(Fragments, HostTest):
    pass


@group("guest")
class GuestMalformedFragments(Fragments, GuestTest):
    pass


@group("host")
class HostNotFragments(NotFragments, HostTest):
    pass


@group("guest")
class GuestNotFragments(NotFragments, GuestTest):
    pass


@group("host")
class HostMalformedEtherTypes(EtherTypes, HostTest):
    pass


@group("guest")
class GuestMalformedEtherTypes(EtherTypes, GuestTest):
    pass


@group("host")
class HostMalformedVlanInVlan(VlanInVlan, HostTest):
    pass


@group("guest")
class GuestMalformedVlanInVlan(VlanInVlan, GuestTest):
    pass


@group("host")
class HostMalformedServiceTag(ServiceTag, HostTest):
    pass


@group("guest")
class GuestMalformedServiceTag(ServiceTag, GuestTest):
    pass


@group("host")
class HostMalformedArp(Arp, HostTest):
    pass


@group("guest")
class GuestMalformedArp(Arp, GuestTest):
    pass


@group("host")
class HostMalformedRunts(Runts, HostTest):
    pass


@group("guest")
class GuestMalformedRunts(Runts, GuestTest):
    pass
