# SPDX-License-Identifier: Apache-2.0
"""Processes that die, stand still, or lose the machine below them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress

from hvchannel_lab.targets import Engine

from tests.chaos.fault import Scene, fault
from tests.chaos.world import CLOCKED, LIBFAKETIME, World, own_clock

_CLOCK_JUMPS = ("-20d", "-1h", "+1h", "+20d", "+3y")


def _all(world: World) -> list[str]:
    parts = ["host/hostd", "host/control", "host/softswitch"]
    for vm in world.topology.vms:
        parts += [f"{vm.name}/guestd", f"{vm.name}/control", f"{vm.name}/softswitch"]
    return parts


def _forwarding_goes_on(world: World, target: str) -> bool:
    """The vSwitches forward in the kernel, and nobody else is in the way of a frame."""
    return not target.endswith("softswitch") or world.topology.engine is not Engine.INTERPRETER


@fault("kill -9", _all, common=True, hitless=_forwarding_goes_on)
def kill(scene: Scene, target: str) -> None:
    scene.world.kill(target)


@fault("freeze", _all, common=True, hitless=_forwarding_goes_on)
def freeze(scene: Scene, target: str) -> None:
    _freeze(scene, target)


def _freeze(scene: Scene, target: str) -> None:
    pid = scene.world.signal(target, signal.SIGSTOP)
    try:
        scene.lasts(0.3, 6)
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def _storing(world: World) -> list[str]:
    return [
        "host/hostd",
        "host/control",
        "vm1/guestd",
        "vm2/guestd",
        *(["host/nats"] if world.uses_nats else []),
    ]


@fault("killed while it stores", _storing, common=True, hitless=_forwarding_goes_on)
def kill_often(scene: Scene, target: str) -> None:
    """At random points of its work, several times over: between a write and a rename sooner or later."""
    for _ in range(5):
        scene.world.kill(target)
        scene.world.until(lambda: _answers(scene.world, target), f"{target} runs again")
        scene.lasts(0.0, 0.3)
    scene.world.kill(target)


def _answers(world: World, key: str) -> bool:
    child = world.supervisor.children[key]
    if child.process is None or not child.process.alive:
        return False
    return child.program.ready is None or child.program.ready.exists()


@fault("VM reboots", lambda world: [vm.name for vm in world.topology.vms])
def reboot_vm(scene: Scene, target: str) -> None:
    scene.traffic.stop()
    with scene.world.powered_off(target):
        pass
    scene.traffic.start()


@fault("host reboots", lambda world: ["host"])
def reboot_host(scene: Scene, target: str) -> float:
    """With all its VMs."""
    scene.traffic.stop()
    scene.writer.stop()
    scene.world.proxies.leave()
    with scene.world.powered_off(*scene.world.topology.whos):
        pass
    since = time.monotonic()
    scene.world.proxies.arrive()
    scene.traffic.start()
    scene.writer.start()
    return since


def _clocked(world: World) -> Sequence[str]:
    return CLOCKED if LIBFAKETIME.exists() else ()


@fault("clock jumps", _clocked, hitless=_forwarding_goes_on)
def jump(scene: Scene, target: str) -> None:
    """The wall clock of one process, there and back. The monotonic clock never jumps."""
    with own_clock(scene.world, target) as set_clock:
        for offset in (scene.luck.choice(_CLOCK_JUMPS), "+0"):
            set_clock(offset)
            scene.lasts(1.2, 3)
