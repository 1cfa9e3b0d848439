# SPDX-License-Identifier: Apache-2.0
"""The feed's servers: away, cut off from hostd, slow."""

from __future__ import annotations

from collections.abc import Sequence

from tests.chaos.fault import Scene, fault
from tests.chaos.faults_processes import _freeze
from tests.chaos.world import World


def _nats(world: World) -> Sequence[str]:
    return ["host/nats"] if world.uses_nats else []


def _always(world: World, target: str) -> bool:
    return True


@fault("nats-server killed", _nats, common=True, hitless=_always)
def killed(scene: Scene, target: str) -> None:
    with scene.world.dead(target):
        scene.lasts(0, 5)


@fault("nats-server frozen", _nats, hitless=_always)
def frozen(scene: Scene, target: str) -> None:
    _freeze(scene, target)


@fault("hostd cut off from nats", _nats, common=True, hitless=_always)
def cut_off(scene: Scene, target: str) -> None:
    scene.world.proxies.stall(target)
    scene.lasts(0.5, 12)
    scene.world.proxies.resume(target)


@fault("hostd's link to nats reset", _nats, hitless=_always)
def reset(scene: Scene, target: str) -> None:
    scene.world.proxies.stall(target)
    scene.lasts(0, 2)
    scene.world.proxies.cut(target)
    scene.world.proxies.resume(target)


@fault("nats slow", _nats, hitless=_always)
def slow(scene: Scene, target: str) -> None:
    scene.world.proxies.slow(target, scene.luck.uniform(0.05, 0.5))
    scene.lasts(2, 6)
    scene.world.proxies.slow(target, 0)
