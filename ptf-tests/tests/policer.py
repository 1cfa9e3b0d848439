# SPDX-License-Identifier: Apache-2.0
"""The direct meter `policer`: an attachment with rates loses what is over them, and no other attachment does."""

import time

import ptf.testutils as tu
from ptf.testutils import group

from vswitch.base import PATIENCE, GuestTest, HostTest
from vswitch.channel import HOST, HYPERVISOR_MAC, OTHER_VIF, VIF
from vswitch.frames import Journey, guest_frame, link, to_guest, to_hypervisor

SLOW = 1  # byte per second: nothing to speak of comes back while a test runs
FRAMES = 3  # fit the burst


class Burst:
    """As many frames as fit the burst pass, the rest is policed; the other end's attachment is not."""

    def runTest(self):
        back = to_hypervisor(self.program)
        entry = self.entry("attachment", "attach_guest", in_port=back.in_port)
        self.arch.police(entry, rate=SLOW, burst=FRAMES * len(back.sent))
        for _ in range(FRAMES):
            self.assert_passes(back)
        for _ in range(2):
            self.assert_dropped(back.in_port, back.sent, "drop_policed")
        self.assert_passes(to_guest(self.program))


class Refill:
    """At its rate the burst fills up again."""

    def runTest(self):
        back = to_hypervisor(self.program)
        entry = self.entry("attachment", "attach_guest", in_port=back.in_port)
        self.arch.police(entry, rate=4 * len(back.sent), burst=len(back.sent))
        self.assert_passes(back)
        deadline = time.monotonic() + PATIENCE
        passed = 1
        while passed == 1 and time.monotonic() < deadline:
            tu.send_packet(self, back.in_port, back.sent)
            passed += tu.count_matched_packets(self, back.expected, back.out_port, timeout=0.05)
        self.assertEqual(2, passed)


class Unlimited:
    """An attachment without rates is not policed, before it has had some and after."""

    def runTest(self):
        back = to_hypervisor(self.program)
        for _ in range(FRAMES):
            self.assert_passes(back)
        entry = self.entry("attachment", "attach_guest", in_port=back.in_port)
        self.arch.police(entry, rate=SLOW, burst=1)
        self.assert_dropped(back.in_port, back.sent, "drop_policed")
        self.arch.unpolice(entry)
        for _ in range(FRAMES):
            self.assert_passes(back)


@group("host")
class HostPolicerBurst(Burst, HostTest):
    pass


@group("guest")
class GuestPolicerBurst(Burst, GuestTest):
    pass


@group("host")
class HostPolicerRefill(Refill, HostTest):
    pass


@group("guest")
class GuestPolicerRefill(Refill, GuestTest):
    pass


@group("host")
class HostPolicerUnlimited(Unlimited, HostTest):
    pass


@group("guest")
class GuestPolicerUnlimited(Unlimited, GuestTest):
    pass


@group("host")
class HostPolicerPerVif(HostTest):
    """One guest's flood costs another guest nothing."""

    def runTest(self):
        entry = self.entry("attachment", "attach_guest", in_port=VIF.port)
        self.arch.police(entry, rate=SLOW, burst=1)
        for _ in range(FRAMES):
            self.assert_dropped(VIF.port, guest_frame(HOST), "drop_policed")
        sent = guest_frame(HOST, src_mac=OTHER_VIF.mac)
        came_out = guest_frame(HOST, src_mac=OTHER_VIF.mac, src=OTHER_VIF.lip)
        expected = link(HOST.hypervisor, OTHER_VIF.mac, HYPERVISOR_MAC) / came_out["IP"]
        for _ in range(FRAMES):
            self.assert_passes(Journey(OTHER_VIF.port, sent, HOST.hypervisor.port, expected))
