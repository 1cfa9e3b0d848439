# SPDX-License-Identifier: Apache-2.0
"""The namespaces and veths of a route, with the names and addresses of a lab's: H, the VNIC, V, and no switch yet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from enum import Enum
from ipaddress import IPv4Interface

from hvchannel_lab import network, offload
from hvchannel_lab.namespaces import inside
from hvchannel_lab.network import End
from hvchannel_lab.topology import Topology
from pyroute2 import IPRoute


class Offloads(Enum):
    """What the interfaces do for the stack: whatever serves the route best, since that is how one would run it."""

    KERNEL = "as the kernel made them: checksums are never computed, and segments of up to 64 KiB pass whole"
    FRAMES = "for a switch that sees frames: right checksums, no segment above the MTU; H and V coalesce what comes"


# A switch's port belongs to the switch: the kernel's own stack answers neither ARP nor IPv4 there.
_PORT = {"arp_ignore": "8", "rp_filter": "1"}
_END = {"arp_ignore": "1", "arp_announce": "2", "rp_filter": "1"}


@contextmanager
def without_switch(topology: Topology) -> Iterator[None]:
    """One veth pair between H and V."""
    with _namespaces(topology):
        _add_veth(*_ends(topology), topology.mtu)
        _address_ends(topology)
        yield


@contextmanager
def for_two_switches(topology: Topology, offloads: Offloads) -> Iterator[None]:
    """H's veth, the VNIC and V's veth, with the ports where two switches belong up and free."""
    hypervisor, vm = topology.hypervisor, topology.vms[0]
    ends = _ends(topology)
    host_ports = (
        End(hypervisor.hostd_switch_interface, hypervisor.namespace),
        End(vm.vnic, hypervisor.namespace),
    )
    # No MAC of the VIF for the VM's end of the VNIC: a bridge takes frames to a port's own MAC for itself.
    guest_ports = (End(vm.guestd_switch_interface, vm.namespace), End(vm.eth, vm.namespace))
    with _namespaces(topology):
        for pair in ((ends[0], host_ports[0]), (host_ports[1], guest_ports[1]), (ends[1], guest_ports[0])):
            _add_veth(*pair, topology.mtu)
        if offloads is Offloads.FRAMES:
            _for_frames(ends, (*host_ports, *guest_ports))
        for port in (*host_ports, *guest_ports):
            with network.link(port.namespace) as link:
                link.up(port.interface, _PORT)
        _address_ends(topology)
        yield


@contextmanager
def _namespaces(topology: Topology) -> Iterator[None]:
    with ExitStack() as made:
        for namespace in topology.namespaces:
            made.callback(network.remove_namespace, namespace)  # first: an interrupt may come in between
            network.create_namespace(namespace)
        yield


def _ends(topology: Topology) -> tuple[End, End]:
    """H's interface and V's."""
    hypervisor, vm = topology.hypervisor, topology.vms[0]
    return (
        End(hypervisor.hostd_interface, hypervisor.namespace, hypervisor.mac),
        End(vm.guestd_interface, vm.namespace, vm.mac),
    )


def _add_veth(here: End, there: End, mtu: int) -> None:
    """With the kernel's own offloads, unlike a lab's."""
    own: dict[str, object] = {"ifname": here.interface, "mtu": mtu}
    peer: dict[str, object] = {"ifname": there.interface, "net_ns_fd": there.namespace, "mtu": mtu}
    for attributes, end in ((own, here), (peer, there)):
        if end.address:
            attributes["address"] = end.address
    with inside(here.namespace):
        route = IPRoute()
    with route:
        route.link("add", kind="veth", peer=peer, **own)


def _for_frames(ends: Iterable[End], ports: Iterable[End]) -> None:
    for each in (*ends, *ports):
        with inside(each.namespace):
            offload.switch_off(each.interface)
    # A veth takes what XDP redirects to its peer only when it polls, which it does for the sake of coalescing. To the
    # switches in userspace it makes no difference.
    for end in ends:
        with inside(end.namespace):
            offload.switch_on(end.interface, offload.Feature.RECEIVE_COALESCING)


def _address_ends(topology: Topology) -> None:
    hypervisor, vm, cip = topology.hypervisor, topology.vms[0], str(topology.channel.cip)
    with network.link(hypervisor.namespace) as link:
        link.up(hypervisor.hostd_interface, _END)
        link.add_address(hypervisor.hostd_interface, hypervisor.address)
    with network.link(vm.namespace) as link:
        link.up(vm.guestd_interface, _END)
        link.add_address(vm.guestd_interface, IPv4Interface(f"{cip}/32"))
        link.add_on_link_route(vm.guestd_interface, str(hypervisor.address.ip), cip)
