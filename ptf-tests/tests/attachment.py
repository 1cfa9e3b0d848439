# SPDX-License-Identifier: Apache-2.0
"""Table `attachment`: port and tag say which identifier and which end a frame belongs to; the rest is unattached."""

from ptf.packet import Dot1Q
from ptf.testutils import group

from vswitch import p4runtime
from vswitch.base import GuestTest, HostTest
from vswitch.channel import HOST, HYPERVISOR_MAC, OTHER_VIF, VIF, VLAN
from vswitch.frames import Journey, guest_frame, hypervisor_frame, link, to_guest, to_hypervisor


def with_vlan(frame, vlan, **fields):
    """The frame with this tag instead of its own, if it has one."""
    link_header, rest = frame.copy(), frame.payload
    if Dot1Q in frame:
        rest = frame[Dot1Q].payload
    link_header.remove_payload()
    return link_header / Dot1Q(vlan=vlan, **fields) / rest.copy()


def without_vlan(frame):
    """The frame without its tag."""
    link_header = frame.copy()
    link_header.remove_payload()
    return link_header / frame[Dot1Q].payload.copy()


class Hit:
    """Each end's frames are attached by its own entry, which counts them and their bytes."""

    def runTest(self):
        hypervisor = self.entry("attachment", "attach_hypervisor")
        guest = self.entry("attachment", "attach_guest", in_port=self.program.guest.port)
        there, back = to_guest(self.program), to_hypervisor(self.program)
        self.assert_passes(there)
        self.assertEqual(
            [(1, len(there.sent)), (0, 0)], [p4runtime.count(hypervisor), p4runtime.count(guest)]
        )
        self.assert_passes(back)
        self.assert_passes(back)
        self.assertEqual(
            [(1, len(there.sent)), (2, 2 * len(back.sent))],
            [p4runtime.count(hypervisor), p4runtime.count(guest)],
        )


class AnotherTag:
    """A VNIC's frames must bear the channel's VLAN id, and no other; no tag is no id, and 0 is not the same as none."""

    def runTest(self):
        for journey in (to_guest(self.program), to_hypervisor(self.program)):
            if Dot1Q not in journey.sent:
                continue
            for vlan in (0, 1, VLAN - 1, 4095):
                with self.subTest(vlan=vlan):
                    self.assert_dropped(journey.in_port, with_vlan(journey.sent, vlan), "drop_unattached")
            with self.subTest("untagged"):
                self.assert_dropped(journey.in_port, without_vlan(journey.sent), "drop_unattached")


class TagOnDaemonPort:
    """A daemon's port takes untagged frames only; not even the channel's own tag may come in there."""

    def runTest(self):
        for journey in (to_guest(self.program), to_hypervisor(self.program)):
            if Dot1Q in journey.sent:
                continue
            for vlan in (0, VLAN):
                with self.subTest(vlan=vlan):
                    self.assert_dropped(journey.in_port, with_vlan(journey.sent, vlan), "drop_unattached")


class Miss:
    """Without its entry a port carries nothing, and the other end's frames still pass."""

    def runTest(self):
        p4runtime.delete(self.entry("attachment", "attach_hypervisor"))
        self.assert_dropped(self.program.hypervisor.port, hypervisor_frame(self.program), "drop_unattached")
        self.assert_passes(to_hypervisor(self.program))
        p4runtime.delete(self.entry("attachment", "attach_guest", in_port=self.program.guest.port))
        self.assert_dropped(self.program.guest.port, guest_frame(self.program), "drop_unattached")


class Identifier:
    """The identifier is what the entry says: with another one nothing else of the channel fits."""

    def runTest(self):
        entry = self.entry("attachment", "attach_hypervisor")
        widest = 0xFFFFFF if self.program is HOST else 0xFFF
        for identifier in (0, self.program.value - 1, widest):
            with self.subTest(identifier=identifier):
                p4runtime.modify(entry._replace(params={self.program.identifier: identifier}))
                self.assert_dropped(
                    self.program.hypervisor.port, hypervisor_frame(self.program), "drop_spoofed"
                )
        p4runtime.modify(entry)
        self.assert_passes(to_guest(self.program))


@group("host")
class HostAttachmentHit(Hit, HostTest):
    pass


@group("guest")
class GuestAttachmentHit(Hit, GuestTest):
    pass


@group("host")
class HostAttachmentAnotherTag(AnotherTag, HostTest):
    pass


@group("guest")
class GuestAttachmentAnotherTag(AnotherTag, GuestTest):
    pass


@group("host")
class HostAttachmentTagOnDaemonPort(TagOnDaemonPort, HostTest):
    pass


@group("guest")
class GuestAttachmentTagOnDaemonPort(TagOnDaemonPort, GuestTest):
    pass


@group("host")
class HostAttachmentMiss(Miss, HostTest):
    pass


@group("guest")
class GuestAttachmentMiss(Miss, GuestTest):
    pass


@group("host")
class HostAttachmentIdentifier(Identifier, HostTest):
    pass


@group("guest")
class GuestAttachmentIdentifier(Identifier, GuestTest):
    pass


@group("host")
class HostAttachmentTwoGuests(HostTest):
    """Two guests that look alike but for their MAC are told apart by their ports."""

    def runTest(self):
        for vif in (VIF, OTHER_VIF):
            entry = self.entry("attachment", "attach_guest", in_port=vif.port)
            frame = guest_frame(HOST, src_mac=vif.mac)
            self.assertEqual((0, 0), p4runtime.count(entry))
            ours = guest_frame(HOST, src_mac=vif.mac, src=vif.lip)
            expected = link(HOST.hypervisor, vif.mac, HYPERVISOR_MAC) / ours[Dot1Q].payload
            self.assert_passes(Journey(vif.port, frame, HOST.hypervisor.port, expected))
            self.assertEqual((1, len(frame)), p4runtime.count(entry))
