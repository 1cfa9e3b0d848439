# SPDX-License-Identifier: Apache-2.0
"""Table `source_guard`: a sender is who its attachment says it is, in MAC and in IP."""

from ptf.testutils import group

from vswitch import p4runtime
from vswitch.base import GuestTest, HostTest
from vswitch.channel import CIP, HOST, HYPERVISOR_IP, HYPERVISOR_MAC, OTHER_VIF, VIF
from vswitch.frames import BROADCAST, guest_frame, hypervisor_frame, to_guest, to_hypervisor


class Hit:
    """Both ends' own addresses pass, each by its own entry."""

    def runTest(self):
        hypervisor = self.entry("source_guard", "permit_source", src_mac=HYPERVISOR_MAC)
        guest = self.entry("source_guard", "permit_source", src_mac=VIF.mac)
        there, back = to_guest(self.program), to_hypervisor(self.program)
        self.assert_passes(there)
        self.assert_passes(back)
        self.assertEqual((1, len(there.sent)), p4runtime.count(hypervisor))
        self.assertEqual((1, len(back.sent)), p4runtime.count(guest))


class GuestPretends:
    """A guest that pretends to be the hypervisor, another guest, its own LIP, everybody or nobody is dropped."""

    def runTest(self):
        macs = (HYPERVISOR_MAC, OTHER_VIF.mac, BROADCAST, "00:00:00:00:00:00", "0a:00:00:00:00:81")
        addresses = (HYPERVISOR_IP, VIF.lip, OTHER_VIF.lip, "169.254.1.3", "0.0.0.0", "255.255.255.255")
        for mac in macs:
            with self.subTest(mac=mac):
                frame = guest_frame(self.program, src_mac=mac)
                self.assert_dropped(self.program.guest.port, frame, "drop_spoofed")
        for address in addresses:
            with self.subTest(address=address):
                frame = guest_frame(self.program, src=address)
                self.assert_dropped(self.program.guest.port, frame, "drop_spoofed")


class HypervisorPretends:
    """The hypervisor's end is held to its addresses just the same."""

    def runTest(self):
        for fields in (
            {"src_mac": VIF.mac},
            {"src": CIP},
            {"src": VIF.lip},
            {"src_mac": VIF.mac, "src": CIP},
        ):
            with self.subTest(**fields):
                frame = hypervisor_frame(self.program, **fields)
                self.assert_dropped(self.program.hypervisor.port, frame, "drop_spoofed")


class Miss:
    """Without its entry even the right sender is dropped."""

    def runTest(self):
        p4runtime.delete(self.entry("source_guard", "permit_source", src_mac=VIF.mac))
        self.assert_dropped(self.program.guest.port, guest_frame(self.program), "drop_spoofed")
        p4runtime.delete(self.entry("source_guard", "permit_source", src_mac=HYPERVISOR_MAC))
        self.assert_dropped(self.program.hypervisor.port, hypervisor_frame(self.program), "drop_spoofed")


@group("host")
class HostSourceGuardHit(Hit, HostTest):
    pass


@group("guest")
class GuestSourceGuardHit(Hit, GuestTest):
    pass


@group("host")
class HostSourceGuardGuestPretends(GuestPretends, HostTest):
    pass


@group("guest")
class GuestSourceGuardGuestPretends(GuestPretends, GuestTest):
    pass


@group("host")
class HostSourceGuardHypervisorPretends(HypervisorPretends, HostTest):
    pass


@group("guest")
class GuestSourceGuardHypervisorPretends(HypervisorPretends, GuestTest):
    pass


@group("host")
class HostSourceGuardMiss(Miss, HostTest):
    pass


@group("guest")
class GuestSourceGuardMiss(Miss, GuestTest):
    pass


@group("host")
class HostSourceGuardAnotherGuestsPort(HostTest):
    """A guest's right addresses at another guest's port are wrong ones."""

    def runTest(self):
        self.assert_dropped(OTHER_VIF.port, guest_frame(HOST), "drop_spoofed")
        self.assert_dropped(VIF.port, guest_frame(HOST, src_mac=OTHER_VIF.mac), "drop_spoofed")
