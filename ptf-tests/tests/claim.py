# SPDX-License-Identifier: Apache-2.0
"""The journey of claim 1 and back, over two chained switches: every element of it seen on the wire or counted."""

import ptf.testutils as tu
from ptf.packet import IP, TCP, UDP, Dot1Q
from ptf.testutils import group

from vswitch import architecture, p4runtime
from vswitch.chain import GUESTD, HOSTD, ChainTest
from vswitch.channel import CIP, GUEST, HOST, HYPERVISOR_IP, HYPERVISOR_MAC, VIF, VLAN
from vswitch.entries import entries_of
from vswitch.frames import guest_asks, guest_frame, hypervisor_asks, to_guest, to_hypervisor

INFORMATION = UDP(sport=40000, dport=2345) / b"information for one virtual machine"
ANSWER = UDP(sport=2345, dport=40000) / b"answer of one virtual machine"


@group("chain")
class ChainClaimOne(ChainTest):
    """Information for a virtual machine, from the hypervisor's daemon to the guest's."""

    def runTest(self):
        over_host, over_guest = to_guest(HOST, INFORMATION), to_guest(GUEST, INFORMATION)
        # (2) from the first daemon's addresses to the first destination IP and the second daemon's MAC
        packet = over_host.sent
        self.assertEqual((HYPERVISOR_MAC, HYPERVISOR_IP), (packet.src, packet[IP].src))
        self.assertEqual((VIF.mac, VIF.lip), (packet.dst, packet[IP].dst))
        # (1, 4) the first daemon has it, and the first switch receives it at the first port
        tu.send_packet(self, HOSTD, packet)
        # (6, 7) tagged with the second identifier, out of the second port to the VNIC; the first is not on the wire
        self.assertEqual((VLAN, CIP), (over_host.expected[Dot1Q].vlan, over_host.expected[IP].dst))
        # (8) the VNIC passes it to the second switch
        self.assert_crosses_vnic(over_host.expected)
        # (9, 10) over the port that the second switch decides for, the second daemon receives it, without the tag
        self.assert_seen(GUESTD, over_guest.expected)
        self.assert_nothing_else()
        self.assert_counted(HOST, forwarded=1)
        self.assert_counted(GUEST, forwarded=1)
        # (3, 5) decided by the first identifier, MAC and first destination IP, for a port that passes the identifier;
        # (6) the mapping first -> second; (9) decided by the second identifier, MAC and second destination IP
        self.assert_decided_by(HOST, ("attachment", "forward", "member", "tag", "translate"))
        self.assert_decided_by(GUEST, ("attachment", "forward", "member", "tag"))

    def assert_decided_by(self, program, tables):
        """One entry of each table has counted the packet, and it is the one of the way there."""
        way = {"in_port": program.hypervisor.port, "port": program.guest.port, "dst_mac": VIF.mac}
        with p4runtime.session(self.target(program), set_pipeline=False):
            counted = [
                entry
                for entry in entries_of(program, architecture.current().cpu_port)
                if entry.table in tables and p4runtime.count(entry).packets
            ]
        self.assertEqual(sorted(tables), sorted(entry.table for entry in counted))
        for entry in counted:
            key, value = next(iter((way.items() & entry.match.items()) or {("", None)}))
            self.assertEqual(way.get(key), value, entry)


@group("chain")
class ChainClaimOnePacketOut(ChainTest):
    """The same by PacketOut: the first identifier literally is metadata associated with the packet."""

    def runTest(self):
        over_host, over_guest = to_guest(HOST, INFORMATION), to_guest(GUEST, INFORMATION)
        with p4runtime.session(self.target(HOST), set_pipeline=False):
            p4runtime.packet_out(bytes(over_host.sent), vni=HOST.value)
            self.assert_crosses_vnic(over_host.expected)
        self.assert_seen(GUESTD, over_guest.expected)
        self.assert_nothing_else()
        self.assert_counted(HOST, forwarded=1)
        self.assert_counted(GUEST, forwarded=1)


@group("chain")
class ChainAnswer(ChainTest):
    """The answer, the same way back: from the CIP, and to the hypervisor from the VIF's LIP."""

    def runTest(self):
        over_guest, over_host = to_hypervisor(GUEST, ANSWER), to_hypervisor(HOST, ANSWER)
        tu.send_packet(self, GUESTD, over_guest.sent)
        self.assert_crosses_vnic(over_guest.expected, to_guest=False)
        self.assert_seen(HOSTD, over_host.expected)
        self.assert_nothing_else()
        self.assert_counted(HOST, forwarded=1)
        self.assert_counted(GUEST, forwarded=1)


@group("chain")
class ChainTcp(ChainTest):
    """A TCP handshake that the hypervisor begins, some bytes, and the end: all of it, in order."""

    def runTest(self):
        there, back = {"sport": 40000, "dport": 2345}, {"sport": 2345, "dport": 40000}
        segments = (
            (to_guest, TCP(flags="S", seq=1, options=[("MSS", 1456)], **there)),
            (to_hypervisor, TCP(flags="SA", seq=9, ack=2, options=[("MSS", 1456)], **back)),
            (to_guest, TCP(flags="A", seq=2, ack=10, **there)),
            (to_guest, TCP(flags="PA", seq=2, ack=10, **there) / b"document"),
            (to_hypervisor, TCP(flags="A", seq=10, ack=10, **back)),
            (to_guest, TCP(flags="FA", seq=10, ack=10, **there)),
            (to_hypervisor, TCP(flags="FA", seq=10, ack=11, **back)),
        )
        for way, segment in segments:
            first, second = (HOST, GUEST) if way is to_guest else (GUEST, HOST)
            source, destination = (HOSTD, GUESTD) if way is to_guest else (GUESTD, HOSTD)
            tu.send_packet(self, source, way(first, segment).sent)
            self.assert_crosses_vnic(way(first, segment).expected, to_guest=way is to_guest)
            self.assert_seen(destination, way(second, segment).expected)
        self.assert_nothing_else()
        self.assert_counted(HOST, forwarded=len(segments))
        self.assert_counted(GUEST, forwarded=len(segments))


@group("chain")
class ChainArp(ChainTest):
    """Each end is answered by its own vSwitch; nothing of it crosses the VNIC."""

    def runTest(self):
        for at, question in ((HOSTD, hypervisor_asks(HOST)), (GUESTD, guest_asks(GUEST))):
            tu.send_packet(self, at, question.sent)
            self.assert_seen(at, question.expected)
        self.assert_nothing_else()
        self.assert_counted(HOST, arp_answered=1)
        self.assert_counted(GUEST, arp_answered=1)


@group("chain")
class ChainGuestDials(ChainTest):
    """A guest that dials is stopped by its own vSwitch; nothing of it crosses the VNIC."""

    def runTest(self):
        tu.send_packet(self, GUESTD, guest_frame(GUEST, TCP(sport=40000, dport=22, flags="S")))
        self.assert_counted(GUEST, drop_new_connection=1)
        self.assert_nothing_else()
        self.assert_counted(HOST)
