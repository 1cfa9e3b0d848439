# SPDX-License-Identifier: Apache-2.0
"""Table `forward`: the port is decided by identifier, destination MAC and destination IP, all three."""

from ptf.packet import ICMP, TCP, UDP
from ptf.testutils import group

from vswitch import p4runtime
from vswitch.base import GuestTest, HostTest
from vswitch.channel import HYPERVISOR_IP, OTHER_VIF
from vswitch.frames import BROADCAST, guest_frame, hypervisor_frame, to_guest, to_hypervisor

PROTOCOLS = (UDP(sport=40000, dport=40001), TCP(sport=40000, dport=2345, flags="A"), ICMP(type=0))


class BothWays:
    """UDP, TCP and ICMP pass from end to end, both ways; each entry counts its own frames and their bytes."""

    def runTest(self):
        there = self.entry("forward", "to_port", dst_ip=self.program.vif_ip)
        back = self.entry("forward", "to_port", dst_ip=HYPERVISOR_IP)
        for l4 in PROTOCOLS:
            self.assert_passes(to_guest(self.program, l4))
        sent = sum(len(to_guest(self.program, l4).sent) for l4 in PROTOCOLS)
        self.assertEqual((3, sent), p4runtime.count(there))
        self.assertEqual((0, 0), p4runtime.count(back))
        for l4 in PROTOCOLS:
            self.assert_passes(to_hypervisor(self.program, l4))
        sent = sum(len(to_hypervisor(self.program, l4).sent) for l4 in PROTOCOLS)
        self.assertEqual((3, sent), p4runtime.count(back))


@group("host")
class HostForwardHit(BothWays, HostTest):
    pass


@group("guest")
class GuestForwardHit(BothWays, GuestTest):
    pass


class NoRoute:
    """Where identifier, MAC and IP do not all fit one entry there is no route."""

    def runTest(self):
        port = self.program.guest.port
        for fields in (
            {"dst_mac": BROADCAST},
            {"dst_mac": "01:00:5e:00:00:01"},
            {"dst_mac": OTHER_VIF.mac},
            {"dst": "169.254.1.99"},
            {"dst": "169.254.169.254"},
            {"dst": "224.0.0.1"},
            {"dst_mac": OTHER_VIF.mac, "dst": "8.8.8.8"},
        ):
            with self.subTest(**fields):
                self.assert_dropped(port, guest_frame(self.program, **fields), "drop_no_route")
        with self.subTest("from the hypervisor"):
            frame = hypervisor_frame(self.program, dst=OTHER_VIF.lip)
            self.assert_dropped(self.program.hypervisor.port, frame, "drop_no_route")


class Miss:
    """Without its entry there is no route, and there is one again when the entry is back."""

    def runTest(self):
        entry = self.entry("forward", "to_port", dst_ip=self.program.vif_ip)
        p4runtime.delete(entry)
        self.assert_dropped(self.program.hypervisor.port, hypervisor_frame(self.program), "drop_no_route")
        p4runtime.insert(entry)
        self.assert_passes(to_guest(self.program))


@group("host")
class HostForwardNoRoute(NoRoute, HostTest):
    pass


@group("guest")
class GuestForwardNoRoute(NoRoute, GuestTest):
    pass


@group("host")
class HostForwardMiss(Miss, HostTest):
    pass


@group("guest")
class GuestForwardMiss(Miss, GuestTest):
    pass
