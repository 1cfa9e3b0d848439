# SPDX-License-Identifier: Apache-2.0
"""The network of a hypervisor with many VIFs: its namespace with a port of the host vSwitch for every VNIC, a namespace
where the VNICs end (the trunks), and a namespace for every guest, since all guests have one address.

    hv: hostd0 - hostd0s   vnic7 ---- t7 :trunks: g4 ---- eth0 :guest 4 (VLAN 4094)
        hostd1 - hostd1s                          g504 -- eth0 :guest 504 (VLAN 4093)

Between t7 and the guests' interfaces an XDP program takes tags off and puts them on, in the place of the guests'
vSwitches: what is measured is the hypervisor.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from hvchannel_lab import network, offload
from hvchannel_lab.namespaces import inside
from hvchannel_lab.network import End, Link
from hvchannel_softswitch.bpf import Link as BpfLink
from hvchannel_softswitch.bpf import MapKind, XdpMode, create_map, load_program
from pyroute2 import netns

from bench.scale import interfaces, trunk_program

PORTS = 500
"""VNICs of one host vSwitch: v1model's port number has 9 bits, and the hypervisor, its further ports and the controller
need some."""

MOST = 2 * PORTS
"""VIFs: as many on each of two logical switches."""

HYPERVISOR_IP, CIP = IPv4Address("169.254.1.1"), IPv4Address("169.254.1.2")
HYPERVISOR_MAC = "02:68:76:00:00:01"
SECOND_POOL = (IPv4Address("169.254.128.0"), IPv4Address("255.255.128.0"))
GUEST_PORT = 2345
_FIRST_VNIC_PORT = 3
_MTU = 1500
_SYSCTL = Path("/proc/sys/net/ipv4/conf")
_NO_IPV6 = Path("/proc/sys/net/ipv6/conf/all/disable_ipv6")
_PORT = {"arp_ignore": "8", "rp_filter": "1"}


@dataclass(frozen=True, slots=True)
class Guest:
    """The `number`-th VIF, from 0, and the end of its VNIC."""

    number: int
    prefix: str  # of the namespaces' names

    @property
    def vif(self) -> str:
        return f"vif{self.number:04}"

    @property
    def mac(self) -> str:
        return f"0e:00:00:00:{self.number >> 8:02x}:{self.number & 0xFF:02x}"

    @property
    def port(self) -> int:
        return _FIRST_VNIC_PORT + self.number % PORTS

    @property
    def vni(self) -> int:
        return 5001 + self.number // PORTS

    @property
    def vlan(self) -> int:
        return 4094 - self.number // PORTS

    @property
    def namespace(self) -> str:
        return f"{self.prefix}-g{self.number}"


@dataclass(frozen=True, slots=True)
class World:
    prefix: str
    guests: tuple[Guest, ...]

    @property
    def hypervisor(self) -> str:
        """Its namespace."""
        return f"{self.prefix}-hv"

    @property
    def trunks(self) -> str:
        """The namespace where the VNICs end."""
        return f"{self.prefix}-tr"

    def switch_ports(self, vifs: int) -> list[str]:
        """PORT@INTERFACE of the host vSwitch with the first so many VIFs attached."""
        vnics = sorted({guest.port for guest in self.guests[:vifs]})
        return ["1@hostd0s", "2@hostd1s", *(f"{port}@vnic{port}" for port in vnics)]


@contextmanager
def built(prefix: str, vifs: int) -> Iterator[World]:
    """A world of `vifs` guests, 1 to MOST, removed at the end. Raises OSError, ValueError."""
    if not 1 <= vifs <= MOST:
        raise ValueError(f"{vifs} VIFs: one host vSwitch takes 1 to {MOST} here")
    world = World(prefix, tuple(Guest(number, prefix) for number in range(vifs)))
    with ExitStack() as made:
        for namespace in (world.hypervisor, world.trunks):
            made.callback(network.remove_namespace, namespace)  # first: an interrupt may come in between
            network.create_namespace(namespace)
        for guest in world.guests:
            made.callback(network.remove_namespace, guest.namespace)
            netns.create(guest.namespace)
        _add_hypervisor(world)
        ways = _wire(world, made)
        _redirect(world, ways, made)
        yield world


def _add_hypervisor(world: World) -> None:
    with network.link(world.hypervisor) as link:
        for name in ("hostd0", "hostd1"):
            link.add_veth(
                End(name, world.hypervisor, HYPERVISOR_MAC), End(f"{name}s", world.hypervisor), _MTU
            )
    with inside(world.hypervisor), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for name in ("hostd0", "hostd1"):
            _set(f"{name}s", _PORT)
            _set(name, {"arp_ignore": "1", "arp_announce": "2", "rp_filter": "1"})
            interfaces.up(sock, f"{name}s")
            interfaces.up(sock, name)
            interfaces.add_host_address(sock, name, HYPERVISOR_IP)
        interfaces.add_on_link_route(sock, "hostd0", IPv4Address("169.254.0.0"), IPv4Address("255.255.0.0"))
        interfaces.add_on_link_route(sock, "hostd1", *SECOND_POOL)


Ways = dict[tuple[str, int], tuple[str, int]]
"""Interface and VLAN id that frames come from, and those they go to; 0: untagged."""


def _wire(world: World, made: ExitStack) -> Ways:
    ways: Ways = {}
    link = made.enter_context(network.link(world.trunks))
    for guest in world.guests:
        trunk, leaf = f"t{guest.port}", f"g{guest.number}"
        if guest.number < PORTS:
            _add_vnic(world, guest, link)
        _add_guest(world, guest, link)
        ways[trunk, guest.vlan], ways[leaf, 0] = (leaf, 0), (trunk, guest.vlan)
    return ways


def _add_vnic(world: World, guest: Guest, link: Link) -> None:
    here, there = f"t{guest.port}", f"vnic{guest.port}"
    link.add_veth(End(here, world.trunks), End(there, world.hypervisor), _MTU)
    with inside(world.hypervisor), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        _set(there, _PORT)
        interfaces.up(sock, there)
    with inside(world.trunks), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        _set(here, _PORT)
        interfaces.up(sock, here)


def _add_guest(world: World, guest: Guest, link: Link) -> None:
    leaf = f"g{guest.number}"
    link.add_veth(End(leaf, world.trunks), End("eth0", guest.namespace, guest.mac), _MTU)
    with inside(world.trunks), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        _set(leaf, _PORT)
        interfaces.up(sock, leaf)
    with inside(guest.namespace), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        with suppress(FileNotFoundError):  # a kernel without IPv6
            _NO_IPV6.write_text("1")
        interfaces.up(sock, "lo")
        interfaces.up(sock, "eth0")
        # A veth takes what XDP redirects to its other end only when it polls, which it does for the sake of coalescing;
        # and only of one that is up the other end hears of it.
        offload.switch_on("eth0", offload.Feature.RECEIVE_COALESCING)
        interfaces.add_host_address(sock, "eth0", CIP)
        interfaces.add_on_link_route(sock, "eth0", HYPERVISOR_IP)
        # A guest has a kernel of its own, and all these namespaces share one with a limit of neighbours.
        interfaces.add_neighbour(sock, "eth0", HYPERVISOR_IP, HYPERVISOR_MAC)


def _redirect(world: World, ways: Ways, made: ExitStack) -> None:
    """Has the program run at every interface of the trunks' namespace."""
    table = made.enter_context(create_map(MapKind.HASH, 8, 8, len(ways), name="ways"))
    program = made.enter_context(load_program(trunk_program.instructions(table.fd), name="trunk"))
    with inside(world.trunks):
        index = {name: socket.if_nametoindex(name) for name, _ in ways}
        for (come, vlan), (go, pushed) in ways.items():
            table.update(
                trunk_program.KEY.pack(index[come], vlan), trunk_program.VALUE.pack(index[go], pushed)
            )
        for number in index.values():
            made.enter_context(BpfLink.create_xdp(program, number, XdpMode.NATIVE))


def _set(interface: str, values: dict[str, str]) -> None:
    for name, value in values.items():
        (_SYSCTL / interface / name).write_text(value)
