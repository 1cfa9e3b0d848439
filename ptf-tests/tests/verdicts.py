# SPDX-License-Identifier: Apache-2.0
"""Tables `verdict` and `egress_verdict`: every verdict there is, once each, and every other counter untouched."""

import ptf.testutils as tu
from ptf.packet import TCP, UDP
from ptf.testutils import group

from vswitch import p4runtime
from vswitch.base import GuestTest, HostTest
from vswitch.channel import CIP, HOST, HYPERVISOR_IP, HYPERVISOR_MAC, OTHER_VIF, VIF
from vswitch.frames import (
    arp_request,
    guest_asks,
    guest_frame,
    hypervisor_frame,
    to_guest,
    to_hypervisor,
)


class Every:
    """Both tables hold exactly the verdicts that this test can bring about; each counts its frame and its bytes."""

    def runTest(self):
        program, guest, hypervisor = self.program, self.program.guest, self.program.hypervisor
        lengths = {}

        def dropped(verdict, frame, end=guest):
            lengths[verdict] = len(frame)
            self.assert_dropped(end.port, frame, verdict)

        def passes(verdict, journey):
            lengths[verdict] = len(journey.sent)
            self.assert_passes(journey, verdict)

        passes("forwarded", to_hypervisor(program))
        passes("arp_answered", guest_asks(program))
        dropped("drop_malformed", guest_frame(program, ihl=6))
        dropped("drop_ether_type", tu.simple_eth_packet(eth_src=HYPERVISOR_MAC), end=self.untagged_end())
        dropped("drop_spoofed", guest_frame(program, src=VIF.lip))
        dropped("drop_arp_unknown", arp_request(guest, VIF.mac, CIP, OTHER_VIF.lip))
        dropped("drop_new_connection", guest_frame(program, TCP(flags="S")))
        dropped("drop_listener", guest_frame(program, UDP(dport=4789)))
        dropped("drop_protocol", guest_frame(program, proto=47))
        dropped("drop_no_route", guest_frame(program, dst=OTHER_VIF.lip))
        dropped("drop_guest_to_guest", guest_frame(program, dst_mac=VIF.mac, dst=program.vif_ip))
        dropped(
            "drop_hairpin",
            hypervisor_frame(program, dst_mac=HYPERVISOR_MAC, dst=HYPERVISOR_IP),
            end=hypervisor,
        )
        route = self.entry("forward", "to_port", dst_ip=HYPERVISOR_IP)
        p4runtime.modify(route._replace(action="punt", params={"reason": 1}))
        dropped("punted", guest_frame(program))
        p4runtime.modify(route)
        attachment = self.entry("attachment", "attach_guest", in_port=guest.port)
        self.arch.police(attachment, rate=1, burst=1)
        dropped("drop_policed", guest_frame(program))
        self.arch.unpolice(attachment)
        p4runtime.delete(attachment)
        dropped("drop_unattached", guest_frame(program))
        p4runtime.insert(attachment)
        member = self.entry("member", "member_hypervisor")
        p4runtime.delete(member)
        dropped("drop_not_member", guest_frame(program))
        p4runtime.insert(member)
        if program is HOST:
            p4runtime.delete(self.entry("restore", "to_lip", in_port=guest.port))
            dropped("drop_unrestored", guest_frame(program))
        else:
            lengths["drop_unrestored"] = 0  # a guest vSwitch translates nothing
        self.assertEqual(
            lengths, {action: count.bytes for (action, _), count in p4runtime.counts("verdict").items()}
        )

    def untagged_end(self):
        """The end whose frames bear no tag."""
        return self.program.guest if self.program.guest.vlan is None else self.program.hypervisor


class EveryInEgress:
    """What is dropped in egress was forwarded in ingress, and both are counted."""

    def runTest(self):
        there = to_guest(self.program)
        if self.program is HOST:
            translation = self.entry("translate", "to_cip", port=there.out_port)
            p4runtime.delete(translation)
            self.assert_dropped(there.in_port, there.sent, "forwarded", "drop_untranslated")
            p4runtime.insert(translation)
        tag = self.entry(
            "tag", "push_vlan" if self.program is HOST else "leave_untagged", port=there.out_port
        )
        p4runtime.delete(tag)
        self.assert_dropped(there.in_port, there.sent, "forwarded", "drop_untaggable")
        p4runtime.insert(tag)
        self.assert_passes(there)
        self.assertEqual(
            {"drop_untaggable": 1, "drop_untranslated": int(self.program is HOST)},
            {action: count.packets for (action, _), count in p4runtime.counts("egress_verdict").items()},
        )


@group("host")
class HostVerdictEvery(Every, HostTest):
    pass


@group("guest")
class GuestVerdictEvery(Every, GuestTest):
    pass


@group("host")
class HostVerdictEveryInEgress(EveryInEgress, HostTest):
    pass


@group("guest")
class GuestVerdictEveryInEgress(EveryInEgress, GuestTest):
    pass
