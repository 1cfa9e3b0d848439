# SPDX-License-Identifier: Apache-2.0
"""Two static XDP redirects, the floor for any switch in XDP: each port sends all it gets out of the other port."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from socket import if_nametoindex

from hvchannel_lab.namespaces import inside
from hvchannel_lab.topology import Topology
from hvchannel_softswitch.bpf import Link, MapKind, XdpMode, create_map, load_program, xdp_available

from bench.routes import redirect_program, wiring
from bench.routes.route import Route, Unavailable, plain

KEY = "redirects"


@contextmanager
def static_redirects(topology: Topology) -> Iterator[Route]:
    """Raises Unavailable where XDP programs cannot be loaded."""
    if reason := xdp_available():
        raise Unavailable(f"no XDP here: {reason}")
    hypervisor, vm = topology.hypervisor, topology.vms[0]
    with wiring.for_two_switches(topology, wiring.Offloads.FRAMES), ExitStack() as up:
        for namespace, first, second in (
            (hypervisor.namespace, hypervisor.hostd_switch_interface, vm.vnic),
            (vm.namespace, vm.eth, vm.guestd_switch_interface),
        ):
            # An interface's number is that of its namespace, and so is the one a redirect goes to.
            with inside(namespace):
                _redirect(first, second, up)
                _redirect(second, first, up)
        yield plain(KEY, "two static XDP redirects", topology)


def _redirect(from_interface: str, to_interface: str, up: ExitStack) -> None:
    ports = up.enter_context(create_map(MapKind.DEVMAP, 4, 4, 1, name="port"))
    ports.update(struct.pack("=I", 0), struct.pack("=I", if_nametoindex(to_interface)))
    program = up.enter_context(load_program(redirect_program.instructions(ports.fd), name="redirect"))
    up.enter_context(Link.create_xdp(program, if_nametoindex(from_interface), XdpMode.NATIVE))
