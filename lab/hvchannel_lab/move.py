# SPDX-License-Identifier: Apache-2.0
"""Moves a VM to another hypervisor as a live migration would: it goes on running, with its VIF id, its MAC and what its
daemon holds; its VNIC is pulled there and plugged in here, and the VIF gets a LIP of the new hypervisor's.

What is done already is not done again: a move that was cut off is finished by asking for it once more.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from hvchannel_control.api import control_pb2 as control
from hvchannel_control.client import ControlClient, ControlError

from hvchannel_lab import network
from hvchannel_lab.handle import Handle
from hvchannel_lab.parts import Vm
from hvchannel_lab.topology import TOPOLOGY_FILE, Topology

_REALISED_WITHIN = 10.0  # seconds


class MoveError(RuntimeError):
    """A step that failed; the message says which, and of which VM."""


@dataclass(frozen=True)
class Step:
    """Something that was done, so many seconds after the move began."""

    after: float
    says: str


class Move:
    """One VM on its way: `leave`, then `arrive`, in a `with` block in which nobody else moves one.

    Both raise MoveError, LabTimeoutError, FeedError, OSError.
    """

    def __init__(
        self, handle: Handle, vm: str, host: str, on_step: Callable[[Step], None] = lambda step: None
    ) -> None:
        """Raises TopologyError for a VM or a hypervisor that is not there."""
        self.vm: Vm = handle.topology.vm(vm)
        self.host = handle.topology.host(host).name
        self.steps: list[Step] = []
        self._handle = handle
        self._on_step = on_step
        self._began = time.monotonic()

    def __enter__(self) -> Move:
        self._alone = _alone(self._handle.topology)
        self._alone.__enter__()
        self._began = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self._alone.__exit__(None, None, None)

    def leave(self) -> None:
        """Detached and unplugged wherever else it is. On its return the VM has no link and no LIP."""
        topology, vm = self._handle.topology, self.vm
        for source in topology.hosts:
            if source == self.host:
                continue
            with self._controller(source) as client:
                held = {vif.vif_id: vif for vif in client.vifs()}.get(vm.vif)
                if held:
                    client.detach(vm.vif)
                    self.note(f"detached at {source}'s controller; LIP {held.lip} is free there")
        plugged = network.plugged_at(topology).get(vm.name)
        if plugged not in (None, self.host):
            network.unplug(vm, topology)
            self.note(f"VNIC {vm.vnic} pulled from {plugged}'s vSwitch, port {vm.host_port}")

    def arrive(self) -> control.Vif:
        """Plugged in and attached here, its daemon reached by this hypervisor's."""
        topology, vm, host = self._handle.topology, self.vm, self.host
        if network.plugged_at(topology).get(vm.name) != host:
            network.plug(vm, topology, host)
            self.note(f"VNIC plugged in at {host}'s vSwitch, port {vm.host_port}, MAC {vm.mac} as before")
        with self._controller(host) as client:
            if vm.vif not in {vif.vif_id for vif in client.vifs()}:
                client.attach(vm.vif, vm.mac, vm.host_port, topology.channel.vlan)
            vif = client.wait_realised(vm.vif, _REALISED_WITHIN)
            if vif.state != control.Vif.REALISED:
                raise MoveError(
                    f"{vm.name} is attached at {host}, whose vSwitch does not hold it within {_REALISED_WITHIN:g} s: "
                    f"{client.status().last_error or 'no reason known'}"
                )
            self.note(f"attached at {host}'s controller: LIP {vif.lip}; the vSwitch holds it")
        session = self._handle.wait_ready(vm.vif, host)
        self.note(f"{host}'s hostd has a session with its guestd, at {session.address}")
        return vif

    @contextmanager
    def _controller(self, host: str) -> Iterator[ControlClient]:
        try:
            with ControlClient(self._handle.topology.control_socket(host)) as client:
                yield client
        except ControlError as error:
            raise MoveError(f"{self.vm.name} to {self.host}: {host}'s controller: {error}") from None

    def note(self, says: str) -> None:
        """Something that was done meanwhile."""
        step = Step(time.monotonic() - self._began, says)
        self.steps.append(step)
        self._on_step(step)


@contextmanager
def _alone(topology: Topology) -> Iterator[None]:
    """Raises MoveError when another process moves a VM of this lab."""
    descriptor = os.open(topology.state / TOPOLOGY_FILE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MoveError(f"a VM of lab {topology.name!r} is being moved just now; try again") from None
        yield
    finally:
        os.close(descriptor)
