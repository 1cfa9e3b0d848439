# SPDX-License-Identifier: Apache-2.0
"""Table `tag`: the identifier becomes the tag on the wire, per port; and the tag comes off where none belongs."""

from ptf.packet import Dot1Q
from ptf.testutils import group

from vswitch import p4runtime
from vswitch.base import GuestTest, HostTest
from vswitch.frames import to_guest, to_hypervisor


def towards_vnic(test):
    """The journey that ends with a tag, and the one that begins with it."""
    there, back = to_guest(test.program), to_hypervisor(test.program)
    return (there, back) if Dot1Q in there.expected else (back, there)


class PushAndPop:
    """Towards the VNIC a frame gets the tag, behind its addresses and before its EtherType, and it grows by 4 bytes;
    from the VNIC it loses it. Each entry counts its own."""

    def runTest(self):
        push, pop = towards_vnic(self)
        self.assertEqual(4, len(push.expected) - len(push.sent))
        self.assertEqual(4, len(pop.sent) - len(pop.expected))
        self.assert_passes(push)
        self.assert_passes(pop)
        pushed = self.entry("tag", "push_vlan", port=push.out_port)
        left = self.entry("tag", "leave_untagged", port=pop.out_port)
        self.assertEqual([1, 1], [p4runtime.count(pushed).packets, p4runtime.count(left).packets])


class VlanIds:
    """The tag is what the entry of the port says, 12 bits of it, with priority 0."""

    def runTest(self):
        push, _ = towards_vnic(self)
        entry = self.entry("tag", "push_vlan", port=push.out_port)
        for vlan in (0, 1, 2048, 4095):
            with self.subTest(vlan=vlan):
                p4runtime.modify(entry._replace(params={"vlan_id": vlan}))
                push.expected[Dot1Q].vlan = vlan
                self.assert_passes(push)


class PriorityIsNotPassedOn:
    """Priority and drop eligibility of a tag that comes in are the sender's to say, and go with the tag."""

    def runTest(self):
        _, pop = towards_vnic(self)
        for priority, eligible in ((7, 0), (0, 1), (7, 1)):
            with self.subTest(priority=priority, eligible=eligible):
                sent = pop.sent.copy()
                sent[Dot1Q].prio, sent[Dot1Q].id = priority, eligible
                self.assert_passes(pop._replace(sent=sent))


class Untaggable:
    """A port without an entry for the identifier passes nothing of it: dropped in egress, after all."""

    def runTest(self):
        entry = self.entry("tag", "push_vlan", port=towards_vnic(self)[0].out_port)
        push, pop = towards_vnic(self)
        p4runtime.delete(entry)
        self.assert_dropped(push.in_port, push.sent, "forwarded", "drop_untaggable")
        self.assert_passes(pop)
        p4runtime.delete(self.entry("tag", "leave_untagged"))
        self.assert_dropped(pop.in_port, pop.sent, "forwarded", "drop_untaggable")


@group("host")
class HostVlanPushAndPop(PushAndPop, HostTest):
    pass


@group("guest")
class GuestVlanPushAndPop(PushAndPop, GuestTest):
    pass


@group("host")
class HostVlanIds(VlanIds, HostTest):
    pass


@group("guest")
class GuestVlanIds(VlanIds, GuestTest):
    pass


@group("host")
class HostVlanPriorityIsNotPassedOn(PriorityIsNotPassedOn, HostTest):
    pass


@group("guest")
class GuestVlanPriorityIsNotPassedOn(PriorityIsNotPassedOn, GuestTest):
    pass


@group("host")
class HostVlanUntaggable(Untaggable, HostTest):
    pass


@group("guest")
class GuestVlanUntaggable(Untaggable, GuestTest):
    pass
