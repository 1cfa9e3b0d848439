# SPDX-License-Identifier: Apache-2.0
"""The parts that a lab's topology is made of, each by its names, ports and addresses."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

InterfaceName = Annotated[
    str, StringConstraints(pattern=r"^[a-z][a-z0-9]{0,14}$")
]  # the kernel's limit: 15 bytes
Mac = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{2}:){5}[0-9a-f]{2}$")]
Port = Annotated[int, Field(ge=1, lt=510)]  # 9 bits; 510 is v1model's CPU port, 511 means "drop"


class Model(BaseModel):
    """A part cannot be changed, and has no other fields than those named."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Channel(Model):
    """Identifiers and addresses of the channel, the same on every hypervisor."""

    vni: Annotated[int, Field(ge=1, lt=1 << 24)] = 5001
    vlan: Annotated[int, Field(ge=1, le=4094)] = 4094
    cip: IPv4Address = IPv4Address("169.254.1.2")
    lip_first: IPv4Address = IPv4Address("169.254.1.10")
    lip_last: IPv4Address = IPv4Address("169.254.254.254")
    guest_tcp_port: Annotated[int, Field(ge=1, le=65535)] = 2345


class Uplink(Model):
    """The way from a hypervisor to a control plane that is elsewhere: a veth with an address at either end."""

    interface: InterfaceName = "cp0"  # on the hypervisor
    address: IPv4Interface
    far_interface: InterfaceName  # in the control plane's namespace
    far_address: IPv4Interface


class Hypervisor(Model):
    """A hypervisor's namespace: hostd's own interface, and its end at the host vSwitch.

    `name` is its `who`: of its folder, its processes, its hops. MAC and address are the same on all hypervisors, so
    that a VM finds after a move what it knew before.
    """

    name: str
    namespace: str
    mac: Mac = "02:68:76:00:00:01"
    address: IPv4Interface = IPv4Interface("169.254.1.1/16")
    hostd_interface: InterfaceName = "hostd0"
    hostd_switch_interface: InterfaceName = "hostd0s"
    hostd_port: Port = 1
    uplink: Uplink | None = None  # None: the control plane is here, or a file


class Vm(Model):
    """One VM: its namespace, its VNIC (`vnic` on the hypervisor, `eth` in the VM) and guestd's interface.

    `home` is the hypervisor on which it starts. `host_port` and `vnic` are no other VM's of the lab, so that they are
    free wherever it moves.
    """

    name: str
    vif: str
    namespace: str
    home: str
    mac: Mac
    host_port: Port
    vnic: InterfaceName
    eth: InterfaceName = "eth0"
    eth_port: Port = 2
    guestd_interface: InterfaceName = "guestd0"
    guestd_switch_interface: InterfaceName = "guestd0s"
    guestd_port: Port = 1


class ControlPlane(Model):
    """Where the lab's own nats-server runs: beside the only hypervisor, or in a namespace to which each has a link.

    `address` is the only one on which it listens.
    """

    who: str
    namespace: str
    address: IPv4Address
    port: Annotated[int, Field(ge=1, le=65535)] = 4222


class Hop(Model):
    """An interface that frames of the channel pass, by its name in captures: `host/vnic1`, `vm1/eth0`."""

    name: str
    namespace: str
    interface: str
