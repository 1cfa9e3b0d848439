# SPDX-License-Identifier: Apache-2.0
"""Two logical switches on one host vSwitch: a port (a trunk) carries a VIF of each, told apart by VLAN id, and the
hypervisor's daemon has a port on each."""

from dataclasses import replace

from ptf.packet import IP
from ptf.testutils import group

from vswitch import p4runtime
from vswitch.base import HostTest
from vswitch.channel import CIP, HOST, HYPERVISOR_IP, HYPERVISOR_MAC, VIF, VLAN, VNI, End, Vif
from vswitch.entries import Entry
from vswitch.frames import Journey, arp_request, datagram, guest_frame, hypervisor_frame, link

OTHER_VNI, OTHER_VLAN = VNI + 1, VLAN - 1
OTHER = Vif("0a:00:00:00:00:09", "169.254.128.1", VIF.port)
OTHER_HOST = replace(
    HOST, value=OTHER_VNI, hypervisor=End(3, None), guest=End(VIF.port, OTHER_VLAN), vif_ip=OTHER.lip
)


class TrunkTest(HostTest):
    """Port 2 carries VIF, on the channel's logical switch, and OTHER, on another; there the hypervisor has port 3."""

    def setUp(self) -> None:
        super().setUp()
        vni, trunk = {"vni": OTHER_VNI}, VIF.port
        hypervisor = {"src_mac": HYPERVISOR_MAC, "src_ip": HYPERVISOR_IP}
        for entry in (
            Entry("attachment", {"in_port": 3, "tagged": 0, "vlan_id": 0}, "attach_hypervisor", vni),
            Entry("source_guard", vni | {"in_port": 3} | hypervisor, "permit_source"),
            Entry("arp", vni | {"target_ip": HYPERVISOR_IP}, "answer_guest", {"mac": HYPERVISOR_MAC}),
            Entry("forward", vni | {"dst_mac": HYPERVISOR_MAC, "dst_ip": HYPERVISOR_IP}, "to_port", {"port": 3}),
            Entry("member", vni | {"port": 3}, "member_hypervisor"),
            Entry("tag", vni | {"port": 3}, "leave_untagged"),
            Entry("attachment", {"in_port": trunk, "tagged": 1, "vlan_id": OTHER_VLAN}, "attach_guest", vni),
            Entry("source_guard", vni | {"in_port": trunk, "src_mac": OTHER.mac, "src_ip": CIP}, "permit_source"),
            Entry("arp", vni | {"target_ip": OTHER.lip}, "answer_hypervisor", {"mac": OTHER.mac}),
            Entry("restore", vni | {"in_port": trunk, "src_ip": CIP}, "to_lip", {"lip": OTHER.lip}),
            Entry("forward", vni | {"dst_mac": OTHER.mac, "dst_ip": OTHER.lip}, "to_port", {"port": trunk}),
            Entry("member", vni | {"port": trunk}, "member_guest"),
            Entry("tag", vni | {"port": trunk}, "push_vlan", {"vlan_id": OTHER_VLAN}),
            Entry("translate", vni | {"port": trunk, "dst_ip": OTHER.lip}, "to_cip", {"cip": CIP}),
        ):  # fmt: skip
            p4runtime.insert(entry)


SIDES = ((HOST, VIF), (OTHER_HOST, OTHER))


def both_ways(program, vif):
    """The two journeys between the hypervisor's port on a logical switch and its VIF."""
    end, host = program.guest, program.hypervisor
    yield Journey(
        host.port,
        hypervisor_frame(program, dst_mac=vif.mac),
        end.port,
        link(end, HYPERVISOR_MAC, vif.mac) / IP(src=HYPERVISOR_IP, dst=CIP) / datagram(),
    )
    yield Journey(
        end.port,
        guest_frame(program, src_mac=vif.mac),
        host.port,
        link(host, vif.mac, HYPERVISOR_MAC) / IP(src=vif.lip, dst=HYPERVISOR_IP) / datagram(),
    )


@group("host")
class HostTrunkBoth(TrunkTest):
    """Each VIF of the trunk and the hypervisor reach each other, with the VIF's own tag, LIP and hypervisor's port."""

    def runTest(self):
        for program, vif in SIDES:
            for journey in both_ways(program, vif):
                self.assert_passes(journey)


@group("host")
class HostTrunkImpersonation(TrunkTest):
    """Under its own tag a VIF is not the other: not by its MAC, nor by its LIP."""

    def runTest(self):
        for (program, vif), (_, other) in (SIDES, SIDES[::-1]):
            for forged in ({"src_mac": other.mac}, {"src_mac": vif.mac, "src": other.lip}):
                with self.subTest(vif=vif, forged=forged):
                    self.assert_dropped(vif.port, guest_frame(program, **forged), "drop_spoofed")


@group("host")
class HostTrunkAnothersTag(TrunkTest):
    """Under the other's tag a VIF is nobody: the tag says who may speak."""

    def runTest(self):
        for (program, _), (_, other) in (SIDES, SIDES[::-1]):
            self.assert_dropped(VIF.port, guest_frame(program, src_mac=other.mac), "drop_spoofed")
        nobodys = replace(HOST, guest=End(VIF.port, OTHER_VLAN - 1))
        self.assert_dropped(VIF.port, guest_frame(nobodys), "drop_unattached")


@group("host")
class HostTrunkGuestToGuest(TrunkTest):
    """The VIFs of a trunk do not reach each other, nor learn of each other."""

    def runTest(self):
        for (program, vif), (_, other) in (SIDES, SIDES[::-1]):
            frame = guest_frame(program, src_mac=vif.mac, dst_mac=other.mac, dst=other.lip)
            self.assert_dropped(vif.port, frame, "drop_no_route")
            asked = arp_request(program.guest, vif.mac, CIP, other.lip)
            self.assert_dropped(vif.port, asked, "drop_arp_unknown")


@group("host")
class HostTrunkHypervisorsPorts(TrunkTest):
    """From its port on one logical switch the hypervisor does not reach the VIF of another."""

    def runTest(self):
        for (program, _), (_, other) in (SIDES, SIDES[::-1]):
            frame = hypervisor_frame(program, dst_mac=other.mac, dst=other.lip)
            self.assert_dropped(program.hypervisor.port, frame, "drop_no_route")
