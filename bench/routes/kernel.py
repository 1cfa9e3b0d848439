# SPDX-License-Identifier: Apache-2.0
"""The routes that the kernel alone carries: no switch at all, and its own bridge."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from hvchannel_lab.namespaces import inside
from hvchannel_lab.topology import Topology
from pyroute2 import IPRoute

from bench.routes import wiring
from bench.routes.route import Route, plain


@contextmanager
def bare(topology: Topology) -> Iterator[Route]:
    """H and V at the two ends of one veth pair."""
    with wiring.without_switch(topology):
        yield plain("bare", "one bare veth pair", topology)


@contextmanager
def bridges(topology: Topology) -> Iterator[Route]:
    """A bridge of the kernel's in the place of each switch."""
    hypervisor, vm = topology.hypervisor, topology.vms[0]
    with wiring.for_two_switches(topology, wiring.Offloads.KERNEL), ExitStack() as up:
        for namespace, ports in (
            (hypervisor.namespace, (hypervisor.hostd_switch_interface, vm.vnic)),
            (vm.namespace, (vm.eth, vm.guestd_switch_interface)),
        ):
            with inside(namespace):
                route = up.enter_context(IPRoute())
            route.link("add", ifname="br0", kind="bridge")
            bridge = route.link_lookup(ifname="br0")[0]
            for port in ports:
                route.link("set", index=route.link_lookup(ifname=port)[0], master=bridge)
            route.link("set", index=bridge, state="up")
        yield plain("bridges", "two Linux bridges", topology)
