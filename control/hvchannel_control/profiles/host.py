# SPDX-License-Identifier: Apache-2.0
"""The host vSwitch: the hypervisor's daemon at one port of each logical switch, a VNIC at each of the others."""

from dataclasses import dataclass

from hvchannel_control.config import HostConfig, LogicalSwitch
from hvchannel_control.entries import Entry, MeterConfig, entry
from hvchannel_control.probe import Route
from hvchannel_control.probe_frames import Ends
from hvchannel_control.vif import Vif


@dataclass(frozen=True, slots=True)
class HostProfile:
    config: HostConfig
    name: str = "host"
    program: str = "host_vswitch"

    def fixed_entries(self) -> list[Entry]:
        channel = self.config.channel
        # What the controller sends by PacketOut, with the VNI that it chooses, enters as if the hypervisor's daemon had
        # sent it from its port on the default logical switch.
        controller = entry(
            "attachment",
            {"in_port": self.config.switch.cpu_port, "tagged": 0, "vlan_id": 0},
            "attach_controller",
            {"in_port": channel.hypervisor_port},
        )
        default, *further = self.config.switches.values()
        entries = [*self._hypervisor_entries(default), controller]
        for switch in further:
            entries += self._hypervisor_entries(switch)
            entries.append(self._hypervisor_speaks(channel.hypervisor_port, switch.vni))
        return entries

    def _hypervisor_speaks(self, port: int, vni: int) -> Entry:
        channel = self.config.channel
        return entry(
            "source_guard",
            {"in_port": port, "vni": vni, "src_mac": channel.hypervisor_mac, "src_ip": channel.hypervisor_ip},
            "permit_source",
        )

    def _hypervisor_entries(self, switch: LogicalSwitch) -> list[Entry]:
        """The hypervisor's end of one logical switch."""
        vni, port = switch.vni, switch.hypervisor_port
        mac, ip = self.config.channel.hypervisor_mac, self.config.channel.hypervisor_ip
        return [
            entry(
                "attachment", {"in_port": port, "tagged": 0, "vlan_id": 0}, "attach_hypervisor", {"vni": vni}
            ),
            self._hypervisor_speaks(port, vni),
            entry("arp", {"vni": vni, "target_ip": ip}, "answer_guest", {"mac": mac}),
            entry("forward", {"vni": vni, "dst_mac": mac, "dst_ip": ip}, "to_port", {"port": port}),
            entry("member", {"port": port, "vni": vni}, "member_hypervisor"),
            entry("tag", {"port": port, "vni": vni}, "leave_untagged"),
        ]

    def vif_entries(self, vif: Vif) -> list[Entry]:
        assert vif.lip is not None, "the host leases every VIF a LIP"
        vni, cip = vif.vni, self.config.channel.cip
        policer = MeterConfig.policer(self.config.policer.rate_bytes_per_s, self.config.policer.burst_bytes)
        return [
            entry(
                "attachment",
                {"in_port": vif.port, "tagged": 1, "vlan_id": vif.vlan},
                "attach_guest",
                {"vni": vni},
                meter=policer,
            ),
            entry(
                "source_guard",
                {"in_port": vif.port, "vni": vni, "src_mac": vif.mac, "src_ip": cip},
                "permit_source",
            ),
            entry("arp", {"vni": vni, "target_ip": vif.lip}, "answer_hypervisor", {"mac": vif.mac}),
            entry("restore", {"in_port": vif.port, "vni": vni, "src_ip": cip}, "to_lip", {"lip": vif.lip}),
            entry(
                "forward", {"vni": vni, "dst_mac": vif.mac, "dst_ip": vif.lip}, "to_port", {"port": vif.port}
            ),
            entry("member", {"port": vif.port, "vni": vni}, "member_guest"),
            entry("tag", {"port": vif.port, "vni": vni}, "push_vlan", {"vlan_id": vif.vlan}),
            entry("translate", {"port": vif.port, "vni": vni, "dst_ip": vif.lip}, "to_cip", {"cip": cip}),
        ]

    def probe_route(self, vif: Vif) -> Route | None:
        assert vif.lip is not None
        channel, own = self.config.channel, {entry.table: entry for entry in self.vif_entries(vif)}
        cpu_port = self.config.switch.cpu_port
        injected = [e for e in self.fixed_entries() if ("in_port", cpu_port) in e.match]
        return Route(
            vif.vni,
            Ends(channel.hypervisor_mac, vif.mac, channel.hypervisor_ip, vif.lip),
            to=[*injected, *(own[table] for table in ("forward", "member", "tag", "translate"))],
            back=[own[table] for table in ("attachment", "source_guard", "restore")],
        )
