# SPDX-License-Identifier: Apache-2.0
"""What shows the frames of a lab's hops: packet sockets, but for the ports of vSwitches that run in the kernel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hvchannel_lab import network
from hvchannel_lab.capture import Source
from hvchannel_lab.packet_socket import PacketSocket
from hvchannel_lab.parts import Hop
from hvchannel_lab.qemu.window import GuestCapture, Window
from hvchannel_lab.switch_trace import SwitchTrace
from hvchannel_lab.targets import VmKind
from hvchannel_lab.topology import Topology


def sources_of(topology: Topology, hops: Iterable[Hop]) -> list[Source]:
    """For each hop what shows its frames now. Raises OSError."""
    wanted = {hop.name: hop for hop in hops}
    found: list[Source] = []
    machines = {vm.name for vm in topology.vms} if topology.vm_kind is VmKind.QEMU else set()
    for who in topology.whos if topology.target.traces else ():
        ports = {port: hop for port, hop in topology.port_hops(who).items() if hop.name in wanted}
        if who in machines:
            window = Window(topology.folder(who))
            xdp = window.look()["xdp"]
            redirecting = {hop.name for hop in ports.values() if hop.interface in xdp}
            plain = [name for name in wanted if name.startswith(f"{who}/") and name not in redirecting]
            found += [GuestCapture(window, plain)] if plain else []
            for name in plain:
                del wanted[name]
        else:
            redirecting = set(_redirecting(ports.values()))
        if redirecting:
            names = {port: hop.name for port, hop in ports.items() if hop.name in redirecting}
            found.append(SwitchTrace(topology.trace_file(who), names))
        for name in redirecting:
            del wanted[name]
    return [*map(PacketSocket, wanted.values()), *found]


def _redirecting(hops: Iterable[Hop]) -> Iterator[str]:
    """The names of those whose interface runs an XDP program."""
    for hop in hops:
        with network.link(hop.namespace) as link:
            if link.runs_xdp(hop.interface):
                yield hop.name
