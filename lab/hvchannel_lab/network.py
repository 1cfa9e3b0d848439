# SPDX-License-Identifier: Apache-2.0
"""The lab's namespaces, veths, addresses and routes, by netlink. Calls block."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

from pyroute2 import IPRoute, netns

from hvchannel_lab import offload
from hvchannel_lab.namespaces import inside
from hvchannel_lab.parts import ControlPlane, Hop, Hypervisor, Vm
from hvchannel_lab.topology import Topology

_SYSCTL = Path("/proc/sys/net")

# For a whole namespace. `default` is what interfaces made later begin with.
_NAMESPACE_SETTINGS = {
    "ipv6/conf/all/disable_ipv6": "1",
    "ipv6/conf/default/disable_ipv6": "1",
    "ipv4/ip_forward": "0",
    "ipv4/conf/all/rp_filter": "1",
    "ipv4/conf/default/rp_filter": "1",
    "ipv4/conf/all/accept_redirects": "0",
    "ipv4/conf/all/send_redirects": "0",
    "ipv4/conf/default/send_redirects": "0",
}
# A switch's port belongs to the switch alone. The kernel's own stack must not answer there: not ARP for an
# address it holds on another interface (arp_ignore 8), and no IPv4 whatever its source (rp_filter 1, as no
# route leads there).
_SWITCH_PORT_SETTINGS = {"arp_ignore": "8", "rp_filter": "1"}
# A daemon's interface speaks for its own address only.
_DAEMON_SETTINGS = {"arp_ignore": "1", "arp_announce": "2", "rp_filter": "1"}


@dataclass(frozen=True)
class End:
    """One end of a veth. `address` None: the kernel's choice, for ends whose MAC nobody sees."""

    interface: str
    namespace: str
    address: str | None = None


class Link:
    """A netlink socket of one namespace, used from outside of it."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        with inside(namespace):
            self._route = IPRoute()

    def close(self) -> None:
        self._route.close()

    def add_veth(self, here: End, there: End, mtu: int) -> None:
        """Both ends exist, down, with offloads off. Raises OSError, NetlinkError."""
        peer = {"ifname": there.interface, "net_ns_fd": there.namespace, "mtu": mtu}
        if there.address:
            peer["address"] = there.address
        own = {"address": here.address} if here.address else {}
        self._route.link("add", ifname=here.interface, kind="veth", mtu=mtu, peer=peer, **own)
        for end in (here, there):
            with inside(end.namespace):
                offload.switch_off(end.interface)

    def up(self, interface: str, settings: dict[str, str] | None = None) -> None:
        """Settings first, so that no frame passes before they hold."""
        with inside(self.namespace):
            for name, value in (settings or {}).items():
                (_SYSCTL / "ipv4/conf" / interface / name).write_text(value)
        self._route.link("set", index=self._index(interface), state="up")

    def set_mtu(self, interface: str, mtu: int) -> None:
        self._route.link("set", index=self._index(interface), mtu=mtu)

    def down(self, interface: str) -> None:
        self._route.link("set", index=self._index(interface), state="down")

    def exists(self, interface: str) -> bool:
        return bool(self._route.link_lookup(ifname=interface))

    def runs_xdp(self, interface: str) -> bool:
        """Whether an XDP program is attached, in whatever mode; of an interface that is not there: False."""
        for index in self._route.link_lookup(ifname=interface):
            for found in self._route.get_links(index):
                return bool(found.get_nested("IFLA_XDP", "IFLA_XDP_ATTACHED"))
        return False

    def remove(self, interface: str) -> None:
        """The other end of a veth goes with it. An interface that is gone already is no error."""
        if self.exists(interface):
            self._route.link("del", index=self._index(interface))

    def add_address(self, interface: str, address: IPv4Interface) -> None:
        self._route.addr(
            "add", index=self._index(interface), address=str(address.ip), prefixlen=address.network.prefixlen
        )

    def add_on_link_route(self, interface: str, destination: str, source: str) -> None:
        """A route to exactly one address, without a router."""
        self._route.route(
            "add", dst=f"{destination}/32", oif=self._index(interface), scope="link", prefsrc=source
        )

    def add_route(self, destination: IPv4Address, router: IPv4Address) -> None:
        """To one address, by way of another that is on a link."""
        self._route.route("add", dst=f"{destination}/32", gateway=str(router))

    def _index(self, interface: str) -> int:
        found = self._route.link_lookup(ifname=interface)
        if not found:
            raise OSError(errno.ENODEV, f"no interface {interface} in namespace {self.namespace}")
        return int(found[0])


@contextmanager
def link(namespace: str) -> Iterator[Link]:
    """A `Link` for the length of a block."""
    opened = Link(namespace)
    try:
        yield opened
    finally:
        opened.close()


def create_namespace(namespace: str) -> None:
    """With loopback up, IPv6 off, no forwarding. Raises FileExistsError when there is one of that name."""
    try:
        netns.create(namespace)
    except FileExistsError:
        raise FileExistsError(errno.EEXIST, f"network namespace {namespace} exists already") from None
    prepare(namespace)


def prepare(namespace: str) -> None:
    """Loopback up, IPv6 off, no forwarding."""
    with inside(namespace):
        for name, value in _NAMESPACE_SETTINGS.items():
            with suppress(FileNotFoundError):  # a kernel without IPv6 has nothing to switch off
                (_SYSCTL / name).write_text(value)
    with link(namespace) as route:
        route.up("lo")


def remove_namespace(namespace: str) -> None:
    """With all interfaces in it. One that is gone already is no error."""
    with suppress(FileNotFoundError):
        netns.remove(namespace)


def add_hypervisor(hypervisor: Hypervisor, mtu: int) -> None:
    """The hypervisor's namespace, with hostd's interface and its end at the host vSwitch. Raises OSError."""
    create_namespace(hypervisor.namespace)
    with link(hypervisor.namespace) as route:
        route.add_veth(
            End(hypervisor.hostd_interface, hypervisor.namespace, hypervisor.mac),
            End(hypervisor.hostd_switch_interface, hypervisor.namespace),
            mtu,
        )
        route.up(hypervisor.hostd_switch_interface, _SWITCH_PORT_SETTINGS)
        route.up(hypervisor.hostd_interface, _DAEMON_SETTINGS)
        route.add_address(hypervisor.hostd_interface, hypervisor.address)


def add_vm(vm: Vm, topology: Topology) -> None:
    """The VM's namespace with guestd's interface, its VNIC not yet plugged. Raises OSError."""
    create_namespace(vm.namespace)
    add_guestd(vm, topology)


def add_guestd(vm: Vm, topology: Topology) -> None:
    """guestd's interface, and its end at the guest vSwitch. Raises OSError."""
    cip, hypervisor = str(topology.channel.cip), str(topology.host(vm.home).address.ip)
    with link(vm.namespace) as route:
        route.add_veth(
            End(vm.guestd_interface, vm.namespace, vm.mac),
            End(vm.guestd_switch_interface, vm.namespace),
            topology.mtu,
        )
        route.up(vm.guestd_switch_interface, _SWITCH_PORT_SETTINGS)
        route.up(vm.guestd_interface, _DAEMON_SETTINGS)
        route.add_address(vm.guestd_interface, IPv4Interface(f"{cip}/32"))
        route.add_on_link_route(vm.guestd_interface, hypervisor, cip)


def add_control_plane(control_plane: ControlPlane, hypervisors: Iterable[Hypervisor], mtu: int) -> None:
    """The control plane's namespace, with its address and a link to each hypervisor, which are there. A link leads to
    that one address: nothing is forwarded from one hypervisor to another. Raises OSError."""
    create_namespace(control_plane.namespace)
    with link(control_plane.namespace) as here:
        here.add_address("lo", IPv4Interface(control_plane.address))
        for hypervisor in hypervisors:
            uplink = hypervisor.uplink
            assert uplink is not None, hypervisor.name
            here.add_veth(
                End(uplink.far_interface, control_plane.namespace),
                End(uplink.interface, hypervisor.namespace),
                mtu,
            )
            here.up(uplink.far_interface, _DAEMON_SETTINGS)
            here.add_address(uplink.far_interface, uplink.far_address)
            with link(hypervisor.namespace) as there:
                there.up(uplink.interface, _DAEMON_SETTINGS)
                there.add_address(uplink.interface, uplink.address)
                there.add_route(control_plane.address, uplink.far_address.ip)


def plug(vm: Vm, topology: Topology, host: str | None = None) -> None:
    """The VNIC: one end on a hypervisor (the VM's home by default), the other the VM's eth, with the VIF's MAC and no
    address."""
    namespace = topology.host(host or vm.home).namespace
    with link(namespace) as route:
        route.add_veth(End(vm.vnic, namespace), End(vm.eth, vm.namespace, vm.mac), topology.mtu)
        route.up(vm.vnic, _SWITCH_PORT_SETTINGS)
    with link(vm.namespace) as route:
        route.up(vm.eth, _SWITCH_PORT_SETTINGS)


def set_up_vnic(vm: Vm, topology: Topology) -> None:
    """The VM's end of a VNIC that a driver made, as `plug` sets up that of a veth. Raises OSError."""
    with inside(vm.namespace):
        offload.switch_off(vm.eth)
    with link(vm.namespace) as route:
        route.set_mtu(vm.eth, topology.mtu)
        route.up(vm.eth, _SWITCH_PORT_SETTINGS)


def set_up_tap(name: str, namespace: str, mtu: int) -> None:
    """The hypervisor's end, where that is a tap. Raises OSError."""
    with link(namespace) as route:
        route.set_mtu(name, mtu)
        route.up(name, _SWITCH_PORT_SETTINGS)


def unplug(vm: Vm, topology: Topology) -> None:
    """Both ends of the VNIC go, wherever it is. One that is not plugged is no error."""
    for hypervisor in topology.hypervisors:
        with link(hypervisor.namespace) as route:
            route.remove(vm.vnic)


def present(topology: Topology) -> list[Hop]:
    """The hops whose interfaces are there now: of a VNIC's, that at the hypervisor in which it is. Raises OSError."""
    plugged = plugged_at(topology)
    absent = {
        f"{host}/{vm.vnic}" for vm in topology.vms for host in topology.hosts if plugged.get(vm.name) != host
    }
    return [hop for hop in topology.hops if hop.name not in absent]


def plugged_at(topology: Topology) -> dict[str, str]:
    """The hypervisor in which each VM's VNIC is, by the VM's name; a VM that is plugged nowhere is left out.

    The interfaces themselves tell: nothing is written down that could differ from them. Raises OSError.
    """
    found: dict[str, str] = {}
    for hypervisor in topology.hypervisors:
        with link(hypervisor.namespace) as route:
            found |= {vm.name: hypervisor.name for vm in topology.vms if route.exists(vm.vnic)}
    return found
