# SPDX-License-Identifier: Apache-2.0
"""What a fault is, and the list of all, which the modules that define them fill."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.chaos.attachments import Attacher
from tests.chaos.documents import Writer
from tests.chaos.traffic import Traffic
from tests.chaos.world import World


@dataclass
class Scene:
    """What a fault may touch. `wrong`: what it saw itself that should not have been."""

    world: World
    luck: random.Random
    writer: Writer
    traffic: Traffic
    attacher: Attacher
    seed: str
    wrong: list[str] = field(default_factory=list)

    def lasts(self, least: float, most: float) -> None:
        """While this passes the fault is there. Seconds."""
        time.sleep(self.luck.uniform(least, most))


Inject = Callable[[Scene, str], object]
"""Makes the fault at the target and takes it away again. Recovery is counted from its return; where nothing is taken
away, it returns at once. A float that it returns is when it was over instead (time.monotonic)."""


@dataclass(frozen=True)
class Fault:
    name: str
    inject: Inject
    targets: Callable[[World], Sequence[str]]
    common: bool  # one of the short run's
    hitless: Callable[[World, str], bool]  # whether no frame may be lost


FAULTS: dict[str, Fault] = {}


def fault(
    name: str,
    targets: Callable[[World], Sequence[str]],
    *,
    common: bool = False,
    hitless: Callable[[World, str], bool] = lambda world, target: False,
) -> Callable[[Inject], Inject]:
    """Registers a fault. It is left out where it has no targets."""

    def register(inject: Inject) -> Inject:
        FAULTS[name] = Fault(name, inject, targets, common, hitless)
        return inject

    return register
