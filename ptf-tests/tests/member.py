# SPDX-License-Identifier: Apache-2.0
"""Table `member`: the port that was decided for must pass the identifier, and must lead to the other end."""

from ptf.testutils import group

from vswitch import p4runtime
from vswitch.base import GuestTest, HostTest
from vswitch.channel import CIP, HOST, HYPERVISOR_IP, HYPERVISOR_MAC, OTHER_VIF, VIF
from vswitch.entries import Entry
from vswitch.frames import guest_frame, hypervisor_frame, to_guest, to_hypervisor


class Hit:
    """The entry of the port that a frame goes out by counts it."""

    def runTest(self):
        hypervisor = self.entry("member", "member_hypervisor")
        guest = self.entry("member", "member_guest", port=self.program.guest.port)
        there, back = to_guest(self.program), to_hypervisor(self.program)
        self.assert_passes(there)
        self.assertEqual(
            [(0, 0), (1, len(there.sent))], [p4runtime.count(hypervisor), p4runtime.count(guest)]
        )
        self.assert_passes(back)
        self.assertEqual((1, len(back.sent)), p4runtime.count(hypervisor))


class Miss:
    """A port that does not pass the identifier gets nothing of it."""

    def runTest(self):
        entry = self.entry("member", "member_guest", port=self.program.guest.port)
        p4runtime.delete(entry)
        self.assert_dropped(self.program.hypervisor.port, hypervisor_frame(self.program), "drop_not_member")
        other = dict(entry.match) | {self.program.identifier: self.program.value - 1}
        p4runtime.insert(entry._replace(match=other))
        self.assert_dropped(self.program.hypervisor.port, hypervisor_frame(self.program), "drop_not_member")
        self.assert_passes(to_hypervisor(self.program))


class Hairpin:
    """The hypervisor's end does not get its own frames back."""

    def runTest(self):
        frame = hypervisor_frame(self.program, dst_mac=HYPERVISOR_MAC, dst=HYPERVISOR_IP)
        self.assert_dropped(self.program.hypervisor.port, frame, "drop_hairpin")


class Itself:
    """Nor does a guest."""

    def runTest(self):
        frame = guest_frame(self.program, dst_mac=VIF.mac, dst=self.program.vif_ip)
        self.assert_dropped(self.program.guest.port, frame, "drop_guest_to_guest")


@group("host")
class HostMemberHit(Hit, HostTest):
    pass


@group("guest")
class GuestMemberHit(Hit, GuestTest):
    pass


@group("host")
class HostMemberMiss(Miss, HostTest):
    pass


@group("guest")
class GuestMemberMiss(Miss, GuestTest):
    pass


@group("host")
class HostMemberHairpin(Hairpin, HostTest):
    pass


@group("guest")
class GuestMemberHairpin(Hairpin, GuestTest):
    pass


@group("host")
class HostMemberItself(Itself, HostTest):
    pass


@group("guest")
class GuestMemberItself(Itself, GuestTest):
    pass


@group("host")
class HostMemberGuestToGuest(HostTest):
    """A guest reaches no other guest, though both are members of the same logical switch and there is a route."""

    def runTest(self):
        frame = guest_frame(HOST, dst_mac=OTHER_VIF.mac, dst=OTHER_VIF.lip)
        self.assert_dropped(VIF.port, frame, "drop_guest_to_guest")
        frame = guest_frame(HOST, src_mac=OTHER_VIF.mac, dst_mac=VIF.mac, dst=VIF.lip)
        self.assert_dropped(OTHER_VIF.port, frame, "drop_guest_to_guest")


@group("host")
class HostMemberAnotherLogicalSwitch(HostTest):
    """With a VNI of its own a guest is out of the hypervisor's reach, and the hypervisor out of its."""

    def runTest(self):
        another = HOST.value + 1
        p4runtime.modify(
            self.entry("attachment", "attach_guest", in_port=VIF.port)._replace(params={"vni": another})
        )
        guard = self.entry("source_guard", "permit_source", in_port=VIF.port)
        p4runtime.insert(guard._replace(match=guard.match | {"vni": another}))
        p4runtime.insert(
            Entry("restore", {"in_port": VIF.port, "vni": another, "src_ip": CIP}, "to_lip", {"lip": VIF.lip})
        )
        self.assert_dropped(VIF.port, guest_frame(HOST), "drop_no_route")
        route = self.entry("forward", "to_port", dst_ip=HYPERVISOR_IP)
        p4runtime.insert(route._replace(match=route.match | {"vni": another}))
        self.assert_dropped(VIF.port, guest_frame(HOST), "drop_not_member")
