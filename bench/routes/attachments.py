# SPDX-License-Identifier: Apache-2.0
"""What the controller writes for a whole hypervisor of VIFs, one of which is real: the entries of both vSwitches.

By the controller's own profiles. Two things differ from a hypervisor in use. A port number has 9 bits, so that more
than about 500 attachments need more than one VNI (host) or VLAN (guest), which the tables hold as well. And nobody is
policed: the path is measured, not its policer's rate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address

from hvchannel_control.config import GuestConfig, HostConfig
from hvchannel_control.entries import Entry
from hvchannel_control.profiles.guest import GuestProfile
from hvchannel_control.profiles.host import HostProfile
from hvchannel_control.vif import Vif
from hvchannel_lab.topology import Topology

ENTRIES = 1000
"""Per table, of every table that a controller can fill; the hypervisor's own few come on top."""

_PORTS = 500  # per VNI or VLAN: as many as the number's 9 bits allow, beside the real ones
_FIRST_PORT = 3


def real_vif(topology: Topology) -> Vif:
    """The one that traffic passes: the lab's first VM, with the pool's first address as its LIP."""
    vm, channel = topology.vms[0], topology.channel
    return Vif(vm.vif, vm.mac, vm.host_port, channel.vlan, channel.lip_first, channel.vni)


def host_entries(topology: Topology, count: int = ENTRIES) -> list[Entry]:
    """For the host vSwitch: `count` VIFs attached."""
    channel = topology.channel
    profile = _host_profile(topology)
    entries = [*profile.fixed_entries(), *profile.vif_entries(real_vif(topology))]
    for number in range(count - 1):
        further, port = divmod(number, _PORTS)
        vif = Vif(
            vif_id=f"other{number}",
            mac=_mac(number),
            port=_FIRST_PORT + port,
            vlan=channel.vlan - further,
            lip=channel.lip_first + 1 + number,
            vni=channel.vni + further,
        )
        entries += profile.vif_entries(vif)
    return [replace(entry, meter=None) for entry in entries]


def guest_entries(topology: Topology, count: int = ENTRIES) -> list[Entry]:
    """For the guest vSwitch, which knows two ends per VLAN: `count` ends."""
    vm, channel = topology.vms[0], topology.channel
    return [
        *_both_ends(topology, channel.vlan, vm.guestd_port, vm.mac),
        *(
            entry
            for number in range(count // 2 - 1)
            for entry in _both_ends(topology, 1 + number, _FIRST_PORT + number, _mac(number))
        ),
    ]


def _host_profile(topology: Topology) -> HostProfile:
    hypervisor = topology.hypervisor
    channel = {
        "vni": topology.channel.vni,
        "vlan": topology.channel.vlan,
        "hypervisor_mac": hypervisor.mac,
        "hypervisor_ip": IPv4Address(hypervisor.address.ip),
        "hypervisor_port": hypervisor.hostd_port,
        "cip": topology.channel.cip,
    }
    return HostProfile(HostConfig.model_validate({"channel": channel}))


def _both_ends(topology: Topology, vlan: int, port: int, mac: str) -> Iterator[Entry]:
    hypervisor = topology.hypervisor
    channel = {
        "vlan": vlan,
        "hypervisor_mac": hypervisor.mac,
        "hypervisor_ip": IPv4Address(hypervisor.address.ip),
        "cip": topology.channel.cip,
    }
    vif = {"mac": mac, "vnic_port": topology.vms[0].eth_port, "daemon_port": port}
    profile = GuestProfile(GuestConfig.model_validate({"channel": channel, "vif": vif}))
    yield from profile.fixed_entries()
    yield from profile.vif_entries(profile.own_vif())


def _mac(number: int) -> str:
    return f"0e:00:00:00:{number >> 8:02x}:{number & 0xFF:02x}"
