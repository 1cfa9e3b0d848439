# SPDX-License-Identifier: Apache-2.0
"""What the measurements know of a route."""

from __future__ import annotations

from dataclasses import dataclass

from hvchannel_lab.topology import Topology


@dataclass(frozen=True, slots=True)
class Route:
    """A way from H to V that is up. `hypervisor` and `guest` are the namespaces of its ends."""

    key: str
    name: str
    hypervisor: str
    guest: str
    dialled: str
    """The address at which H reaches V: the LIP where the switches translate."""
    answers_at: str
    """The address that V has."""
    switches: tuple[int, ...] = ()
    """The processes that are its switches, the hypervisor's first."""


class Unavailable(Exception):  # noqa: N818 (reads as the condition it names)
    """This machine lacks what the route needs; says what."""


def plain(key: str, name: str, topology: Topology, switches: tuple[int, ...] = ()) -> Route:
    """A route without translation: H dials the very address that V has."""
    hypervisor, vm, cip = topology.hypervisor, topology.vms[0], str(topology.channel.cip)
    return Route(key, name, hypervisor.namespace, vm.namespace, cip, cip, switches)
