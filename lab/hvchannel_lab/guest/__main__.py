# SPDX-License-Identifier: Apache-2.0
"""The init of a lab's QEMU guest: guestd's veth, the VNIC, the channel's programs, kept running, and the lab's window.

/state is the VM's own disk. Its lab.json says what this VM is: nothing of another VM's is in it. What is written here
goes to the console, which the lab keeps.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import structlog

from hvchannel_lab import logs, network, processes
from hvchannel_lab.guest.agent import Agent
from hvchannel_lab.namespaces import NAMESPACES
from hvchannel_lab.parts import Vm
from hvchannel_lab.supervisor import PROCESSES_FILE, Policy, Supervisor
from hvchannel_lab.topology import Topology

_STATE = Path("/state")
_LAB = _STATE / "lab.json"
_POLICY = Policy(ready_within=900)  # without KVM a program takes its time; the lab gives up before that
_POLL = 0.2  # seconds between two looks at whether the VNIC came or went
_log = structlog.stdlib.get_logger("guest")


def main() -> None:
    """Does not end."""
    logs.set_up()
    topology = Topology.model_validate_json(_LAB.read_bytes())
    (vm,) = topology.vms
    _log.info("kernel", release=os.uname().release, python=sys.version.split()[0])
    _name_our_namespace(vm)
    subprocess.run(["busybox", "mount", "-t", "bpf", "bpf", "/sys/fs/bpf"], check=False)
    network.prepare(vm.namespace)
    network.add_guestd(vm, topology)
    processes.write_guest_configuration(topology, vm)
    asyncio.run(_run(topology, vm))


def _name_our_namespace(vm: Vm) -> None:
    """So that all that the lab does in a namespace of that name it does here in the machine's only one."""
    NAMESPACES.mkdir(parents=True, exist_ok=True)
    (NAMESPACES / vm.namespace).touch()
    subprocess.run(
        ["busybox", "mount", "-o", "bind", "/proc/self/ns/net", NAMESPACES / vm.namespace], check=True
    )


async def _run(topology: Topology, vm: Vm) -> None:
    ready = asyncio.Event()
    tasks = [
        asyncio.create_task(_keep_vnic_up(topology, vm)),
        asyncio.create_task(Agent(topology, vm, ready).run()),
        asyncio.create_task(_programs(topology, vm, ready)),
    ]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    for task in tasks:
        if task.done():
            task.result()


async def _programs(topology: Topology, vm: Vm, ready: asyncio.Event) -> None:
    supervisor = Supervisor(_STATE / PROCESSES_FILE, _POLICY)
    await supervisor.start(processes.vm_programs(topology, vm))
    _log.info("programs_ready")
    await supervisor.start(processes.workload(topology, vm))
    ready.set()
    await asyncio.Event().wait()


async def _keep_vnic_up(topology: Topology, vm: Vm) -> None:
    there = False
    while True:
        now = (Path("/sys/class/net") / vm.eth).exists()
        if now and not there:
            await asyncio.to_thread(network.set_up_vnic, vm, topology)
            _log.info("vnic_is_up", interface=vm.eth)
        elif there and not now:
            _log.info("vnic_is_gone", interface=vm.eth)
        there = now
        await asyncio.sleep(_POLL)


if __name__ == "__main__":
    main()
