# SPDX-License-Identifier: Apache-2.0
"""The guest vSwitch: the guest's daemon at one port, the VNIC at another. Its VIF is its own, and fixed."""

from dataclasses import dataclass

from hvchannel_control.config import GuestConfig
from hvchannel_control.entries import Entry, entry
from hvchannel_control.probe import Route
from hvchannel_control.vif import Vif


@dataclass(frozen=True, slots=True)
class GuestProfile:
    config: GuestConfig
    name: str = "guest"
    program: str = "guest_vswitch"

    def fixed_entries(self) -> list[Entry]:
        channel = self.config.channel
        vlan, port = channel.vlan, self.config.vif.vnic_port
        mac, ip = channel.hypervisor_mac, channel.hypervisor_ip
        return [
            entry(
                "attachment",
                {"in_port": port, "tagged": 1, "vlan_id": vlan},
                "attach_hypervisor",
                {"vlan": vlan},
            ),
            entry(
                "source_guard", {"in_port": port, "vlan": vlan, "src_mac": mac, "src_ip": ip}, "permit_source"
            ),
            entry("arp", {"vlan": vlan, "target_ip": ip}, "answer_guest", {"mac": mac}),
            entry("forward", {"vlan": vlan, "dst_mac": mac, "dst_ip": ip}, "to_port", {"port": port}),
            entry("member", {"port": port, "vlan": vlan}, "member_hypervisor"),
            entry("tag", {"port": port, "vlan": vlan}, "push_vlan", {"vlan_id": vlan}),
        ]

    def vif_entries(self, vif: Vif) -> list[Entry]:
        cip = self.config.channel.cip
        port, vlan, mac = vif.port, vif.vlan, vif.mac
        return [
            entry("attachment", {"in_port": port, "tagged": 0, "vlan_id": 0}, "attach_guest", {"vlan": vlan}),
            entry(
                "source_guard",
                {"in_port": port, "vlan": vlan, "src_mac": mac, "src_ip": cip},
                "permit_source",
            ),
            entry("arp", {"vlan": vlan, "target_ip": cip}, "answer_hypervisor", {"mac": mac}),
            entry("forward", {"vlan": vlan, "dst_mac": mac, "dst_ip": cip}, "to_port", {"port": port}),
            entry("member", {"port": port, "vlan": vlan}, "member_guest"),
            entry("tag", {"port": port, "vlan": vlan}, "leave_untagged"),
        ]

    def probe_route(self, vif: Vif) -> Route | None:
        return None

    def own_vif(self) -> Vif:
        """The guest's own VIF: where its daemon is coupled. Raises ConfigError when its MAC cannot be had."""
        vif = self.config.vif
        return Vif(vif.vif_id, self.config.vif_mac(), vif.daemon_port, self.config.channel.vlan)
