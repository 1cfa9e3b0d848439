# SPDX-License-Identifier: Apache-2.0
"""What the two programs' tables hold in the tests that compare engines or targets: the controller's own entries, and
ways to the verdicts that it never leads to; and who talks to whom there."""

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address

from hvchannel_control.config import GuestConfig, HostConfig
from hvchannel_control.entries import Entry, MeterConfig, entry
from hvchannel_control.profiles.guest import GuestProfile
from hvchannel_control.profiles.host import HostProfile
from hvchannel_control.vif import Vif

from .frames import Talk

CPU_PORT = 510

HYPERVISOR = ("02:68:76:00:00:01", "169.254.1.1")
CIP, VLAN, VNI = "169.254.1.2", 4094, 5001
VIFS = [
    Vif(f"vif{n}", f"0a:00:00:00:00:0{n}", 1 + n, VLAN, IPv4Address(f"169.254.1.{9 + n}"), VNI)
    for n in (1, 2, 3)
]
DEAD_ENDS = {name: (f"0a:00:00:00:01:{n:02x}", f"169.254.2.{n}") for n, name in enumerate(
    ("punt", "untaggable", "untranslated", "not_member", "nowhere", "drop_port", "cpu_port"), 1
)}  # fmt: skip
STRANGER = ("0a:00:00:00:02:01", "169.254.3.1")


EVERYBODY = [HYPERVISOR, (VIFS[0].mac, CIP), *((vif.mac, str(vif.lip)) for vif in VIFS), STRANGER]
RED = MeterConfig(cir=1, cburst=1, pir=1, pburst=1)  # every frame exceeds it


def host_entries() -> list[Entry]:
    profile = HostProfile(HostConfig.model_validate({}))
    found = profile.fixed_entries() + [one for vif in VIFS for one in profile.vif_entries(vif)]
    return [
        replace(one, meter=RED)
        if one.table == "attachment" and dict(one.match)["in_port"] == VIFS[2].port
        else one
        for one in found
    ] + [
        *dead_ends("vni", VNI, {"dead": 5, "odd": 6}),
        entry("tag", {"port": 6, "vni": VNI}, "push_vlan", {"vlan_id": 7}),
        entry(
            "translate",
            {"port": 5, "vni": VNI, "dst_ip": IPv4Address(DEAD_ENDS["untaggable"][1])},
            "to_cip",
            {"cip": IPv4Address(CIP)},
        ),
        # A guest's frame that the source guard lets through and no entry restores.
        entry(
            "source_guard",
            {"in_port": 2, "vni": VNI, "src_mac": VIFS[0].mac, "src_ip": IPv4Address(STRANGER[1])},
            "permit_source",
        ),
        # One port of two networks.
        entry("attachment", {"in_port": 6, "tagged": 1, "vlan_id": 7}, "attach_guest", {"vni": 77}),
        entry("attachment", {"in_port": 6, "tagged": 0, "vlan_id": 0}, "attach_hypervisor", {"vni": VNI}),
    ]


def guest_entries() -> list[Entry]:
    profile = GuestProfile(GuestConfig.model_validate({"vif": {"mac": VIFS[0].mac}}))
    controller = {"in_port": CPU_PORT, "tagged": 0, "vlan_id": 0}
    return [
        *profile.fixed_entries(),
        *profile.vif_entries(profile.own_vif()),
        *dead_ends("vlan", VLAN, {"dead": 3, "odd": 4}),
        entry("attachment", controller, "attach_controller", {"in_port": 2}),
        entry("attachment", {"in_port": 3, "tagged": 0, "vlan_id": 0}, "attach_guest", {"vlan": VLAN}, RED),
    ]


def dead_ends(name: str, identifier: int, ports: dict[str, int]) -> Iterator[Entry]:
    """A destination for each way in which a frame can end badly."""
    leads = {
        "untaggable": ports["dead"],
        "untranslated": ports["odd"],
        "not_member": 7,
        "nowhere": 9,  # a port without an interface
        "drop_port": 511,
        "cpu_port": CPU_PORT,
    }
    for why, port in leads.items():
        mac, ip = DEAD_ENDS[why]
        yield entry(
            "forward",
            {name: identifier, "dst_mac": mac, "dst_ip": IPv4Address(ip)},
            "to_port",
            {"port": port},
        )
        if why != "not_member":
            yield entry("member", {"port": port, name: identifier}, "member_guest")
    yield entry("tag", {"port": 9, name: identifier}, "leave_untagged")
    mac, ip = DEAD_ENDS["punt"]
    yield entry(
        "forward", {name: identifier, "dst_mac": mac, "dst_ip": IPv4Address(ip)}, "punt", {"reason": 5}
    )


def entries_of(program: str) -> list[Entry]:
    """What the program's tables hold."""
    return host_entries() if program == "host_vswitch" else guest_entries()


def talks(program: str) -> list[Talk]:
    if program == "guest_vswitch":
        guest, controller = (VIFS[0].mac, CIP), CPU_PORT
        there = [Talk(2, VLAN, HYPERVISOR, guest), Talk(controller, None, HYPERVISOR, guest)]
        ways = [Talk(1, None, guest, way) for way in (HYPERVISOR, *DEAD_ENDS.values())]
        return [
            *there * 6,
            *ways,
            *ways[:1] * 6,
            Talk(3, None, guest, HYPERVISOR),
            Talk(4, None, guest, HYPERVISOR),
        ] + [Talk(2, VLAN, HYPERVISOR, way) for way in DEAD_ENDS.values()]
    found = []
    for vif in VIFS:
        lip = (vif.mac, str(vif.lip))
        found += [Talk(vif.port, vif.vlan, (vif.mac, CIP), HYPERVISOR), Talk(1, None, HYPERVISOR, lip)]
        found.append(Talk(CPU_PORT, None, HYPERVISOR, lip))
    found *= 4  # beside as many dead ends
    found += [Talk(port, None, HYPERVISOR, way) for port in (1, CPU_PORT) for way in DEAD_ENDS.values()]
    found += [Talk(2, VLAN, (VIFS[0].mac, CIP), way) for way in DEAD_ENDS.values()]
    found += [Talk(2, VLAN, (VIFS[0].mac, STRANGER[1]), HYPERVISOR), Talk(6, None, HYPERVISOR, STRANGER)]
    found += [Talk(5, None, HYPERVISOR, STRANGER), Talk(6, 7, (VIFS[0].mac, CIP), HYPERVISOR)]
    return found
