# SPDX-License-Identifier: Apache-2.0
"""The entries with which both vSwitches carry the channel: what a controller writes for a hypervisor and its VIFs."""

from typing import NamedTuple

from vswitch.channel import (
    CIP,
    GUEST,
    HOST,
    HYPERVISOR_IP,
    HYPERVISOR_MAC,
    VIF,
    VIFS,
    VLAN,
    VNI,
    Program,
)


class Entry(NamedTuple):
    """A table entry in P4Info's names. All keys of these tables are exact."""

    table: str
    match: dict[str, object]
    action: str
    params: dict[str, object] = {}  # noqa: RUF012 (never changed)


def entries_of(program: Program, cpu_port: int) -> list[Entry]:
    """All that the program's stages need to carry the channel; PacketOut enters by `cpu_port`."""
    return {HOST.name: _host, GUEST.name: _guest}[program.name](cpu_port)


def _host(cpu_port: int) -> list[Entry]:
    hypervisor = {"vni": VNI, "dst_mac": HYPERVISOR_MAC, "dst_ip": HYPERVISOR_IP}
    entries = [
        Entry("attachment", {"in_port": 1, "tagged": 0, "vlan_id": 0}, "attach_hypervisor", {"vni": VNI}),
        Entry(
            "attachment",
            {"in_port": cpu_port, "tagged": 0, "vlan_id": 0},
            "attach_controller",
            {"in_port": 1},
        ),
        Entry(
            "source_guard",
            {"in_port": 1, "vni": VNI, "src_mac": HYPERVISOR_MAC, "src_ip": HYPERVISOR_IP},
            "permit_source",
        ),
        Entry("arp", {"vni": VNI, "target_ip": HYPERVISOR_IP}, "answer_guest", {"mac": HYPERVISOR_MAC}),
        Entry("forward", hypervisor, "to_port", {"port": 1}),
        Entry("member", {"port": 1, "vni": VNI}, "member_hypervisor"),
        Entry("tag", {"port": 1, "vni": VNI}, "leave_untagged"),
    ]
    for vif in VIFS:
        on_port = {"port": vif.port, "vni": VNI}
        from_port = {"in_port": vif.port, "vni": VNI}
        entries += [
            Entry(
                "attachment",
                {"in_port": vif.port, "tagged": 1, "vlan_id": VLAN},
                "attach_guest",
                {"vni": VNI},
            ),
            Entry("source_guard", from_port | {"src_mac": vif.mac, "src_ip": CIP}, "permit_source"),
            Entry("arp", {"vni": VNI, "target_ip": vif.lip}, "answer_hypervisor", {"mac": vif.mac}),
            Entry("restore", from_port | {"src_ip": CIP}, "to_lip", {"lip": vif.lip}),
            Entry(
                "forward", {"vni": VNI, "dst_mac": vif.mac, "dst_ip": vif.lip}, "to_port", {"port": vif.port}
            ),
            Entry("member", on_port, "member_guest"),
            Entry("tag", on_port, "push_vlan", {"vlan_id": VLAN}),
            Entry("translate", on_port | {"dst_ip": vif.lip}, "to_cip", {"cip": CIP}),
        ]
    return entries


def _guest(cpu_port: int) -> list[Entry]:
    hypervisor = {"vlan": VLAN, "dst_mac": HYPERVISOR_MAC, "dst_ip": HYPERVISOR_IP}
    return [
        Entry("attachment", {"in_port": 1, "tagged": 0, "vlan_id": 0}, "attach_guest", {"vlan": VLAN}),
        Entry(
            "attachment", {"in_port": 2, "tagged": 1, "vlan_id": VLAN}, "attach_hypervisor", {"vlan": VLAN}
        ),
        # To try PacketOut: a frame that the controller sends enters as if over the VNIC.
        Entry(
            "attachment",
            {"in_port": cpu_port, "tagged": 0, "vlan_id": 0},
            "attach_controller",
            {"in_port": 2},
        ),
        Entry(
            "source_guard", {"in_port": 1, "vlan": VLAN, "src_mac": VIF.mac, "src_ip": CIP}, "permit_source"
        ),
        Entry(
            "source_guard",
            {"in_port": 2, "vlan": VLAN, "src_mac": HYPERVISOR_MAC, "src_ip": HYPERVISOR_IP},
            "permit_source",
        ),
        Entry("arp", {"vlan": VLAN, "target_ip": HYPERVISOR_IP}, "answer_guest", {"mac": HYPERVISOR_MAC}),
        Entry("arp", {"vlan": VLAN, "target_ip": CIP}, "answer_hypervisor", {"mac": VIF.mac}),
        Entry("forward", {"vlan": VLAN, "dst_mac": VIF.mac, "dst_ip": CIP}, "to_port", {"port": 1}),
        Entry("forward", hypervisor, "to_port", {"port": 2}),
        Entry("member", {"port": 1, "vlan": VLAN}, "member_guest"),
        Entry("member", {"port": 2, "vlan": VLAN}, "member_hypervisor"),
        Entry("tag", {"port": 1, "vlan": VLAN}, "leave_untagged"),
        Entry("tag", {"port": 2, "vlan": VLAN}, "push_vlan", {"vlan_id": VLAN}),
    ]
