# SPDX-License-Identifier: Apache-2.0
"""Links that go, lose and garble; controllers that are cut off, and that are two."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from hvchannel_control.reconcile import Operation, Update
from hvchannel_lab import network

from tests.chaos.fault import Scene, fault
from tests.chaos.relay import Badness, bad_wire
from tests.chaos.world import World
from tests.control.test_control_vswitch import OtherHand

_OTHERS_ID = 99  # above the controllers' own election id


def _vms(world: World) -> Sequence[str]:
    return [vm.name for vm in world.topology.vms]


@fault(
    "VNIC down",
    lambda world: [f"{where} {vm}" for vm in _vms(world) for where in ("host", "guest")],
    common=True,
)
def vnic_down(scene: Scene, target: str) -> None:
    where, _, name = target.partition(" ")
    topology = scene.world.topology
    vm = topology.vm(name)
    namespace, interface = (
        (topology.hypervisor.namespace, vm.vnic) if where == "host" else (vm.namespace, vm.eth)
    )
    with network.link(namespace) as link:
        link.down(interface)
        scene.lasts(0.1, 6)
        link.up(interface)


@fault("VNIC unplugged", _vms)
def vnic_unplugged(scene: Scene, target: str) -> None:
    vm = scene.world.topology.vm(target)
    network.unplug(vm, scene.world.topology)
    scene.lasts(0.1, 4)
    network.plug(vm, scene.world.topology)


def _badly(name: str, badness: Badness) -> None:
    @fault(f"VNIC {name}", _vms)
    def bad(scene: Scene, target: str) -> None:
        with bad_wire(scene.world.topology.vm(target), scene.world.topology, badness, scene.seed):
            scene.lasts(2, 6)


_badly("loses 10 %", Badness(loss=0.1))
_badly("reorders 20 %", Badness(reorder=0.2))
_badly("duplicates 20 %", Badness(duplicate=0.2))
_badly("corrupts 5 %", Badness(corrupt=0.05))
_badly("does all of it", Badness(0.05, 0.1, 0.1, 0.03))


def _controllers(world: World) -> Sequence[str]:
    return world.topology.whos


def _always(world: World, target: str) -> bool:
    return True


@fault("controller cut off", _controllers, hitless=_always)
def partition(scene: Scene, target: str) -> None:
    """From its vSwitch; no packet comes through, then all of them. Attachments change meanwhile."""
    scene.world.proxies.stall(f"{target}/p4rt")
    scene.lasts(1, 12)
    scene.world.proxies.resume(f"{target}/p4rt")


@fault("controller's link reset", _controllers, hitless=_always)
def reset(scene: Scene, target: str) -> None:
    scene.world.proxies.stall(f"{target}/p4rt")
    scene.lasts(0, 3)
    scene.world.proxies.cut(f"{target}/p4rt")
    scene.world.proxies.resume(f"{target}/p4rt")


def _half_open(name: str, left: str) -> None:
    @fault(f"half-open at the {name}", _controllers, hitless=_always)
    def half_open(scene: Scene, target: str) -> None:
        scene.world.proxies.half_open(f"{target}/p4rt", left)


_half_open("vSwitch", "server")
_half_open("controller", "client")


@fault("two controllers", _controllers, hitless=_always)
def two(scene: Scene, target: str) -> None:
    """Another takes over, does damage that carries no packets, and leaves."""
    asyncio.run(_take_over(scene, target))


async def _take_over(scene: Scene, target: str) -> None:
    program = "host_vswitch" if target == "host" else "guest_vswitch"
    other = OtherHand(f"unix:{scene.world.topology.p4runtime_socket(target)}", program, _OTHERS_ID)
    try:
        async with other.as_primary():
            arp = [entry for entry in await other.read() if entry.table == "arp"]
            await other.write(Update(Operation.DELETE, scene.luck.choice(sorted(arp, key=str))))
            until = time.monotonic() + scene.luck.uniform(0.5, 4)
            seen = False
            while time.monotonic() < until or (not seen and time.monotonic() < until + 20):
                status = await asyncio.to_thread(scene.world.handle.control_status, target)
                seen = seen or (not status.in_sync and "another controller is primary" in status.last_error)
                await asyncio.sleep(0.1)
            if not seen:
                scene.wrong.append(f"{target}: the controller does not say that another is primary")
    finally:
        await other.close()
