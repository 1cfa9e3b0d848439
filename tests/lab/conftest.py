# SPDX-License-Identifier: Apache-2.0
"""Labs of a test's own, with names that no running lab bears."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hvchannel_lab import network
from hvchannel_lab.topology import Topology, plan


@pytest.fixture
def make_topology(tmp_path: Path) -> Callable[..., Topology]:
    """A topology with its state directory; nothing else exists."""

    def make(suffix: str = "a", vms: int = 2) -> Topology:
        state = tmp_path / suffix
        state.mkdir()
        return plan(f"t-lab-{os.getpid()}-{suffix}", state, vms)

    return make


@pytest.fixture
def make_network(make_topology: Callable[..., Topology]) -> Iterator[Callable[..., Topology]]:
    """Namespaces and plugged VNICs of a topology, removed after the test."""
    made: list[Topology] = []

    def make(suffix: str = "a", vms: int = 2) -> Topology:
        topology = make_topology(suffix, vms)
        made.append(topology)
        network.add_hypervisor(topology.hypervisor, topology.mtu)
        for vm in topology.vms:
            network.add_vm(vm, topology)
            network.plug(vm, topology)
        return topology

    yield make
    for topology in made:
        for namespace in topology.namespaces:
            network.remove_namespace(namespace)
