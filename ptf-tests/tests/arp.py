# SPDX-License-Identifier: Apache-2.0
"""Table `arp`: the switch answers for the few addresses that exist, to the other end only, out of the port it was
asked by; no broadcast crosses it."""

from ptf.testutils import group

from vswitch import p4runtime
from vswitch.base import GuestTest, HostTest
from vswitch.channel import CIP, HOST, HYPERVISOR_IP, HYPERVISOR_MAC, OTHER_VIF, VIF, VIFS
from vswitch.frames import arp_request, guest_asks, hypervisor_asks, to_guest


class Answers:
    """Each end learns the other's MAC; the answer bears the tag of the port it goes out by. Each entry counts."""

    def runTest(self):
        for_hypervisor = self.entry("arp", "answer_hypervisor", target_ip=self.program.vif_ip)
        for_guest = self.entry("arp", "answer_guest")
        question = hypervisor_asks(self.program)
        self.assert_passes(question, "arp_answered")
        self.assertEqual((1, len(question.sent)), p4runtime.count(for_hypervisor))
        self.assertEqual((0, 0), p4runtime.count(for_guest))
        question = guest_asks(self.program)
        self.assert_passes(question, "arp_answered")
        self.assertEqual((1, len(question.sent)), p4runtime.count(for_guest))


class UnicastQuestion:
    """A neighbour that checks whether the other is still there asks it directly (RFC 4861's way, with ARP)."""

    def runTest(self):
        question = guest_asks(self.program)
        question.sent.dst = HYPERVISOR_MAC
        self.assert_passes(question, "arp_answered")


class Unknown:
    """Nobody is told of an address that does not exist, of its own, or of another guest's."""

    def runTest(self):
        hypervisor, guest = self.program.hypervisor, self.program.guest
        for target in ("169.254.1.99", "169.254.1.0", "0.0.0.0", "255.255.255.255", HYPERVISOR_IP):
            with self.subTest(hypervisor_asks_for=target):
                frame = arp_request(hypervisor, HYPERVISOR_MAC, HYPERVISOR_IP, target)
                self.assert_dropped(hypervisor.port, frame, "drop_arp_unknown")
        for target in ("169.254.1.99", CIP, VIF.lip, OTHER_VIF.lip):
            with self.subTest(guest_asks_for=target):
                self.assert_dropped(guest.port, arp_request(guest, VIF.mac, CIP, target), "drop_arp_unknown")


class Spoofed:
    """The sender inside an ARP request must be the one outside, and both the port's own."""

    def runTest(self):
        guest = self.program.guest
        for name, frame in {
            "another MAC inside": arp_request(guest, VIF.mac, CIP, HYPERVISOR_IP, hw_snd=OTHER_VIF.mac),
            "another MAC, inside and outside": arp_request(guest, OTHER_VIF.mac, CIP, HYPERVISOR_IP),
            "another IP": arp_request(guest, VIF.mac, VIF.lip, HYPERVISOR_IP),
            "a probe (RFC 5227)": arp_request(guest, VIF.mac, "0.0.0.0", HYPERVISOR_IP),
        }.items():
            with self.subTest(name):
                self.assert_dropped(guest.port, frame, "drop_spoofed")


class Miss:
    """Without its entry an address is unknown; datagrams to it still pass."""

    def runTest(self):
        p4runtime.delete(self.entry("arp", "answer_hypervisor", target_ip=self.program.vif_ip))
        question = hypervisor_asks(self.program)
        self.assert_dropped(question.in_port, question.sent, "drop_arp_unknown")
        self.assert_passes(to_guest(self.program))


class NotMember:
    """An answer goes only out of a port that passes the identifier."""

    def runTest(self):
        p4runtime.delete(self.entry("member", "member_guest", port=self.program.guest.port))
        question = guest_asks(self.program)
        self.assert_dropped(question.in_port, question.sent, "drop_not_member")


@group("host")
class HostArpAnswers(Answers, HostTest):
    pass


@group("guest")
class GuestArpAnswers(Answers, GuestTest):
    pass


@group("host")
class HostArpUnicastQuestion(UnicastQuestion, HostTest):
    pass


@group("guest")
class GuestArpUnicastQuestion(UnicastQuestion, GuestTest):
    pass


@group("host")
class HostArpUnknown(Unknown, HostTest):
    pass


@group("guest")
class GuestArpUnknown(Unknown, GuestTest):
    pass


@group("host")
class HostArpSpoofed(Spoofed, HostTest):
    pass


@group("guest")
class GuestArpSpoofed(Spoofed, GuestTest):
    pass


@group("host")
class HostArpMiss(Miss, HostTest):
    pass


@group("guest")
class GuestArpMiss(Miss, GuestTest):
    pass


@group("host")
class HostArpNotMember(NotMember, HostTest):
    pass


@group("guest")
class GuestArpNotMember(NotMember, GuestTest):
    pass


@group("host")
class HostArpEveryVif(HostTest):
    """The hypervisor is told each VIF's own MAC for its own LIP."""

    def runTest(self):
        for vif in VIFS:
            self.assert_passes(hypervisor_asks(HOST, vif), "arp_answered")
