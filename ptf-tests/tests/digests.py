# SPDX-License-Identifier: Apache-2.0
"""The digest `spoof_digest`: who pretended to be what, on which port, under which tag."""

from ptf.packet import Dot1Q
from ptf.testutils import group

from vswitch import p4runtime
from vswitch.base import GuestTest, HostTest
from vswitch.channel import CIP, HYPERVISOR_IP, HYPERVISOR_MAC, OTHER_VIF, VIF
from vswitch.frames import arp_request, guest_frame, hypervisor_frame, to_hypervisor

DIGEST = "spoof_digest"
SILENCE = 0.3  # seconds in which no digest is no digest


def mac(text):
    return int(text.replace(":", ""), 16)


def ip(text):
    return int.from_bytes(bytes(map(int, text.split("."))), "big")


class Contents:
    """Every way to pretend is told with port, identifier, VLAN id, MAC and IP."""

    def runTest(self):
        p4runtime.subscribe(DIGEST)
        identifier = self.program.value
        for end, frame, src_mac, src_ip in (
            (self.program.guest, guest_frame(self.program, src_mac=OTHER_VIF.mac), OTHER_VIF.mac, CIP),
            (self.program.guest, guest_frame(self.program, src=HYPERVISOR_IP), VIF.mac, HYPERVISOR_IP),
            (
                self.program.guest,
                arp_request(self.program.guest, VIF.mac, "0.0.0.0", CIP),
                VIF.mac,
                "0.0.0.0",
            ),
            (self.program.hypervisor, hypervisor_frame(self.program, src=CIP), HYPERVISOR_MAC, CIP),
        ):
            with self.subTest(port=end.port, src_mac=src_mac, src_ip=src_ip):
                self.assert_dropped(end.port, frame, "drop_spoofed")
                expected = (end.port, identifier, end.vlan or 0, mac(src_mac), ip(src_ip))
                self.assertEqual([expected], p4runtime.digests(DIGEST))


class ForeignTag:
    """A tag that is not the channel's is a pretence too: told with its VLAN id, and without an identifier."""

    def runTest(self):
        p4runtime.subscribe(DIGEST)
        for end, frame, src_mac, src_ip in (
            (self.program.guest, guest_frame(self.program), VIF.mac, CIP),
            (self.program.hypervisor, hypervisor_frame(self.program), HYPERVISOR_MAC, HYPERVISOR_IP),
        ):
            if Dot1Q not in frame:
                continue
            frame[Dot1Q].vlan = 7
            self.assert_dropped(end.port, frame, "drop_unattached")
            self.assertEqual([(end.port, 0, 7, mac(src_mac), ip(src_ip))], p4runtime.digests(DIGEST))


class Silence:
    """What passes is not told, nor is what is dropped for another reason."""

    def runTest(self):
        p4runtime.subscribe(DIGEST)
        guest = self.program.guest
        self.assert_passes(to_hypervisor(self.program))
        self.assert_dropped(guest.port, guest_frame(self.program, dst="169.254.1.99"), "drop_no_route")
        self.assert_dropped(guest.port, arp_request(guest, VIF.mac, CIP, "169.254.1.99"), "drop_arp_unknown")
        self.assertEqual([], p4runtime.digests(DIGEST, timeout=SILENCE))


class Unsubscribed:
    """Without a subscription a spoofed frame is dropped and counted just the same, and nothing is told."""

    def runTest(self):
        self.assert_dropped(self.program.guest.port, guest_frame(self.program, src=VIF.lip), "drop_spoofed")
        self.assertEqual([], p4runtime.digests(DIGEST, timeout=SILENCE))


class Lists:
    """Two different pretences go into one list of two; the same one, acknowledged, is told again."""

    def runTest(self):
        p4runtime.subscribe(DIGEST, max_list_size=2, max_timeout_ns=10**10, ack_timeout_ns=10**10)
        end = self.program.guest
        expected = [
            (end.port, self.program.value, end.vlan or 0, mac(address), ip(CIP))
            for address in (OTHER_VIF.mac, HYPERVISOR_MAC)
        ]
        self.pretend(end)
        self.assertEqual(expected, p4runtime.digests(DIGEST))
        # The acknowledgement is on its way while frames come in: what arrives before it is not told again.
        told = []
        for _ in range(20):
            self.pretend(end)
            told += p4runtime.digests(DIGEST, timeout=0.1)
            if told:
                break
        self.assertCountEqual(expected, told)

    def pretend(self, end):
        for address in (OTHER_VIF.mac, HYPERVISOR_MAC):
            self.assert_dropped(end.port, guest_frame(self.program, src_mac=address), "drop_spoofed")


@group("host")
class HostDigestContents(Contents, HostTest):
    pass


@group("guest")
class GuestDigestContents(Contents, GuestTest):
    pass


@group("host")
class HostDigestForeignTag(ForeignTag, HostTest):
    pass


@group("guest")
class GuestDigestForeignTag(ForeignTag, GuestTest):
    pass


@group("host")
class HostDigestSilence(Silence, HostTest):
    pass


@group("guest")
class GuestDigestSilence(Silence, GuestTest):
    pass


@group("host")
class HostDigestUnsubscribed(Unsubscribed, HostTest):
    pass


@group("guest")
class GuestDigestUnsubscribed(Unsubscribed, GuestTest):
    pass


@group("host")
class HostDigestLists(Lists, HostTest):
    pass


@group("guest")
class GuestDigestLists(Lists, GuestTest):
    pass
