# SPDX-License-Identifier: Apache-2.0
"""Kinds of VM. What a lab asks of one is `VirtualMachine`: a network namespace here, a machine in `qemu`."""

from __future__ import annotations

import asyncio
from typing import Protocol

from hvchannel_lab import network, pinned, processes
from hvchannel_lab.parts import Vm
from hvchannel_lab.supervisor import Program, Supervisor
from hvchannel_lab.topology import Topology


class VirtualMachine(Protocol):
    """A VM with one VNIC and no other network. Methods raise OSError or StartError, which name it."""

    @property
    def spec(self) -> Vm:
        """Its names, ports and MAC."""

    async def start(self) -> None:
        """Boots it; nothing is plugged and nothing runs in it yet."""

    async def plug(self, host: str | None = None) -> None:
        """Plugs the VNIC in at a hypervisor, its home by default: from here on the host vSwitch's port has its
        interface."""

    async def unplug(self) -> None:
        """Pulls the VNIC out, as one pulls a cable with its card."""

    async def run(self) -> None:
        """Runs the channel's programs in it and keeps them running; returns when all are ready, the workload last."""

    async def restart(self) -> None:
        """A reboot: everything in it ends, the VNIC comes back, the programs start again."""

    async def stop(self) -> None:
        """Ends everything in it and removes it. One that is stopped already is no error."""


class NamespaceVm:
    """A network namespace in the place of a machine: own interfaces and processes, the host's kernel."""

    def __init__(self, spec: Vm, topology: Topology, supervisor: Supervisor) -> None:
        self._spec = spec
        self._topology = topology
        self._supervisor = supervisor
        self._programs: list[Program] = []

    @property
    def spec(self) -> Vm:
        return self._spec

    async def start(self) -> None:
        await asyncio.to_thread(network.add_vm, self._spec, self._topology)

    async def plug(self, host: str | None = None) -> None:
        await asyncio.to_thread(network.plug, self._spec, self._topology, host)

    async def unplug(self) -> None:
        await asyncio.to_thread(network.unplug, self._spec, self._topology)

    async def run(self) -> None:
        daemons = processes.vm_programs(self._topology, self._spec)
        workload = processes.workload(self._topology, self._spec)
        for programs in (daemons, workload):
            self._programs += programs
            await self._supervisor.start(programs)

    async def restart(self) -> None:
        plugged = await asyncio.to_thread(network.plugged_at, self._topology)
        await self.stop()
        await self.start()
        await self.plug(plugged.get(self._spec.name))
        await self.run()

    async def stop(self) -> None:
        mine = [program.key for program in self._programs if program.key in self._supervisor.children]
        self._programs = []
        await self._supervisor.stop(mine)
        await asyncio.to_thread(pinned.end, [self._topology.switch_name(self._spec.name)])
        await asyncio.to_thread(network.remove_namespace, self._spec.namespace)
