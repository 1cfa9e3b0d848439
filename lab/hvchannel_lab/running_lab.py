# SPDX-License-Identifier: Apache-2.0
"""Brings a lab up, whole, and takes it down again, whatever happens in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

import grpc
import structlog
from hvchannel_control.api import control_pb2 as control
from hvchannel_control.api import control_pb2_grpc
from hvchannel_daemons.feed.interface import Feed, Session, SessionState

from hvchannel_lab import lab_feed, network, pinned, processes, registry, state_directory
from hvchannel_lab.parts import Vm
from hvchannel_lab.qemu.vm import Machines, QemuVm
from hvchannel_lab.supervisor import PROCESSES_FILE, Child, Policy, Supervisor
from hvchannel_lab.targets import VmKind
from hvchannel_lab.topology import Topology
from hvchannel_lab.vm import NamespaceVm, VirtualMachine

_log = structlog.stdlib.get_logger("lab")
_REACHED_WITHIN = {
    VmKind.NAMESPACE: 60.0,
    VmKind.QEMU: 600.0,
}  # seconds from the last attachment to the last session; without KVM and on a busy machine it is minutes
_POLL = 0.1  # seconds


class BringUpError(RuntimeError):
    """The lab did not come up, for a reason that no single program gave."""


class RunningLab:
    """An async context manager: in the block the lab is up, every VM's daemon reached. After it nothing is
    left.

    `step` is called with a line for people at the start of each step. Raises LabRunsError, TopologyError,
    StartError, BringUpError, OSError.
    """

    def __init__(
        self,
        topology: Topology,
        *,
        keep: bool = False,
        policy: Policy | None = None,
        step: Callable[[str], None] = lambda text: None,
        on_change: Callable[[Child], None] | None = None,
    ) -> None:
        self.topology = topology
        self.supervisor = Supervisor(topology.state / PROCESSES_FILE, policy, on_change)
        self.vms: list[VirtualMachine] = [self._vm(vm) for vm in topology.vms]
        self._machines: Machines
        self._keep = keep
        self._step = step

    def _vm(self, spec: Vm) -> VirtualMachine:
        match self.topology.vm_kind:
            case VmKind.NAMESPACE:
                return NamespaceVm(spec, self.topology, self.supervisor)
            case VmKind.QEMU:
                return QemuVm(spec, self.topology, self.supervisor, lambda: self._machines)

    async def __aenter__(self) -> RunningLab:
        for lab, left in (await asyncio.to_thread(registry.sweep)).items():
            _log.info(
                "leftovers_removed",
                lab=lab,
                namespaces=len(left.namespaces),
                switches=len(left.switches),
            )
        registry.claim(self.topology.name, self.topology.state)
        try:
            await self._bring_up()
        except BaseException:
            await self._take_down()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._take_down()

    async def _bring_up(self) -> None:
        topology = self.topology
        await asyncio.to_thread(state_directory.prepare, topology, self._keep)
        processes.write_configuration(topology)
        hypervisors = topology.hypervisors
        if topology.vm_kind is VmKind.QEMU:
            machines = self._machines = await asyncio.to_thread(Machines, len(topology.vms), self._step)
            self._step(f"accelerator {machines.accelerator}: {machines.because}")
        self._step(f"network: {_count(len(hypervisors), 'hypervisor')} and {_count(len(topology.vms), 'VM')}")
        await asyncio.to_thread(self._add_hypervisors)
        for vm in self.vms:
            await vm.start()
            await vm.plug()
        host = processes.feed_programs(topology)
        host += [program for one in hypervisors for program in processes.host_programs(topology, one)]
        self._step(f"programs of {_count(len(hypervisors), 'hypervisor')} and {_count(len(self.vms), 'VM')}")
        await _all(self.supervisor.start(host), *(vm.run() for vm in self.vms))
        self._step(f"attaching {_count(len(self.vms), 'VIF')}")
        await _all(*(self._attach(host) for host in topology.hosts))
        self._step("sessions with the VMs' daemons")
        await self._reached()
        (topology.state / state_directory.UP_FILE).touch()

    def _add_hypervisors(self) -> None:
        topology = self.topology
        for hypervisor in topology.hypervisors:
            network.add_hypervisor(hypervisor, topology.mtu)
        control_plane = topology.control_plane
        if control_plane and control_plane.who not in topology.hosts:
            network.add_control_plane(control_plane, topology.hypervisors, topology.mtu)

    async def _attach(self, host: str) -> None:
        """Equals a controller's attachments to the VMs whose home its hypervisor is. Raises BringUpError."""
        topology = self.topology
        vms = [vm for vm in topology.vms if vm.home == host]
        async with grpc.aio.insecure_channel(f"unix:{topology.control_socket(host)}") as channel:
            stub: Any = control_pb2_grpc.ControlStub(channel)
            try:
                attached = {vif.vif_id: vif for vif in (await stub.List(control.ListRequest())).vifs}
                for vif_id in attached.keys() - {vm.vif for vm in vms}:
                    await stub.Detach(control.DetachRequest(vif_id=vif_id))
                for vm in vms:
                    held = attached.get(vm.vif)
                    if held and (held.mac, held.port, held.vlan) == (
                        vm.mac,
                        vm.host_port,
                        topology.channel.vlan,
                    ):
                        continue
                    request = control.AttachRequest(
                        vif_id=vm.vif, mac=vm.mac, port=vm.host_port, vlan=topology.channel.vlan
                    )
                    await stub.Attach(request)
            except grpc.aio.AioRpcError as error:
                raise BringUpError(f"controller of {host}: {error.code().name}: {error.details()}") from None

    async def _reached(self) -> None:
        """Waits for a ready session with every VM. Raises BringUpError."""
        within = _REACHED_WITHIN[self.topology.vm_kind]
        deadline = time.monotonic() + within

        async def missing(feed: Feed) -> tuple[list[str], dict[str, Session]]:
            """Looks until all are there or the time is over."""
            while True:
                sessions = await feed.sessions()
                away = [
                    vm.vif
                    for vm in self.topology.vms
                    if vm.vif not in sessions or sessions[vm.vif].state is not SessionState.READY
                ]
                if not away or time.monotonic() > deadline:
                    return away, sessions
                await asyncio.sleep(_POLL)

        away, sessions = await asyncio.wrap_future(lab_feed.ask(self.topology, missing))
        if away:
            said = sessions.get(away[0])
            state = f"{said.state}: {said.reason}" if said else "hostd does not know it"
            raise BringUpError(
                f"{_count(len(away), 'VM')} of {len(self.topology.vms)} not reached within "
                f"{within:g} s; {away[0]} ({state}){await self._out_of_sync(away[0])}"
            )

    async def _out_of_sync(self, vif: str) -> str:
        """What the controllers on the way to a VM say of their vSwitches, if that is not good."""
        said = ""
        vm = self.topology.vm(vif)
        for who in (vm.home, vm.name):
            async with grpc.aio.insecure_channel(f"unix:{self.topology.control_socket(who)}") as channel:
                stub: Any = control_pb2_grpc.ControlStub(channel)
                try:
                    status = await stub.GetStatus(control.GetStatusRequest(), timeout=2)
                except grpc.aio.AioRpcError as error:
                    said += f"; {who}'s controller: {error.code().name}: {error.details()}"
                    continue
            if not status.in_sync:
                said += f"; {who}'s vSwitch is not in sync: {status.last_error or 'no reason known'}"
        return said

    async def _take_down(self) -> None:
        topology = self.topology
        (topology.state / state_directory.UP_FILE).unlink(missing_ok=True)
        try:
            await self.supervisor.stop()
        finally:
            try:  # those that were killed, now or before: they have no successor
                await asyncio.to_thread(pinned.end, map(topology.switch_name, topology.whos))
            finally:
                await asyncio.to_thread(_remove, topology.namespaces)
                registry.release(topology.name)


def _remove(namespaces: Iterable[str]) -> None:
    for namespace in namespaces:
        network.remove_namespace(namespace)


async def _all(*coroutines: Any) -> None:
    """All at once; the first error, plain, when one fails."""
    try:
        async with asyncio.TaskGroup() as group:
            for coroutine in coroutines:
                group.create_task(coroutine)
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
