# SPDX-License-Identifier: Apache-2.0
"""The channel under test: its addresses, and how each of the two programs sees its two ends."""

from dataclasses import dataclass

HYPERVISOR_MAC, HYPERVISOR_IP = "02:68:76:00:00:01", "169.254.1.1"
CIP = "169.254.1.2"  # every guest's own address: the second destination IP
VNI = 5001  # the first identifier
VLAN = 4094  # the second identifier


@dataclass(frozen=True)
class Vif:
    """A virtual machine's interface to the channel. `port` is the host vSwitch's."""

    mac: str
    lip: str  # the address the hypervisor knows it by: the first destination IP
    port: int


VIFS = (Vif("0a:00:00:00:00:01", "169.254.1.10", 2), Vif("0a:00:00:00:00:02", "169.254.254.254", 3))
VIF, OTHER_VIF = VIFS


@dataclass(frozen=True)
class End:
    """Where one end of the channel is, as a vSwitch sees it: its port, and the tag its frames bear there."""

    port: int
    vlan: int | None


@dataclass(frozen=True)
class Program:
    """One of the two P4 programs, in the surroundings of the PTF tests."""

    name: str
    identifier: str  # how its tables name the identifier
    value: int  # and the identifier's value on this channel
    hypervisor: End
    guest: End
    vif_ip: str  # the guest's address on the hypervisor's side of this vSwitch
    ports: tuple[int, ...]


HOST = Program("host_vswitch", "vni", VNI, End(1, None), End(VIF.port, VLAN), VIF.lip, (1, 2, 3))
GUEST = Program("guest_vswitch", "vlan", VLAN, End(2, VLAN), End(1, None), CIP, (1, 2))
