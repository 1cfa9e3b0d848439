# SPDX-License-Identifier: Apache-2.0
"""Round after round: one fault, recovery, the rules; all by chance of one seed."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from tests.chaos import faults_feed, faults_network, faults_processes, faults_storage  # noqa: F401 - they register
from tests.chaos.attachments import Attacher
from tests.chaos.checks import Checks
from tests.chaos.documents import Writer
from tests.chaos.effects import Effects
from tests.chaos.fault import FAULTS, Fault, Scene
from tests.chaos.traffic import Traffic
from tests.chaos.world import World

_STUCK = 3  # rounds in a row that did not recover: there is no sense in going on
_LATE, _PATIENCE = (
    1.0,
    30.0,
)  # seconds for what is under way to arrive; a busy machine must not look like a loss
_LEAD = (0.1, 0.8)  # seconds of undisturbed work before a fault


@dataclass(frozen=True)
class Round:
    number: int
    fault: str
    target: str
    recovery: float | None  # seconds; None: it did not
    lost: int
    outage: float
    wrong: list[str] = field(default_factory=list)


def deal(world: World, luck: random.Random, only: Sequence[str]) -> Iterator[tuple[Fault, str]]:
    """Faults with targets, for ever: every fault once before any comes again, each with its targets in turn."""
    there = {name: list(one.targets(world)) for name, one in FAULTS.items() if not only or name in only}
    there = {name: targets for name, targets in there.items() if targets}
    turns = dict.fromkeys(there, 0)
    for targets in there.values():
        luck.shuffle(targets)
    while True:
        names = list(there)
        luck.shuffle(names)
        for name in names:
            yield FAULTS[name], there[name][turns[name] % len(there[name])]
            turns[name] += 1


def run(
    world: World, seed: str, rounds: int, only: Sequence[str], say: Callable[[Round], None]
) -> list[Round]:
    """`only`: names of faults; empty: all. Each round is said as it ends."""
    done: list[Round] = []
    with ExitStack() as clean:
        writer = Writer(world.topology, random.Random(f"{seed}/documents"))
        writer.start()
        clean.callback(writer.stop)
        attacher = Attacher(world.topology, random.Random(f"{seed}/attachments"))
        clean.callback(attacher.stop)
        effects = [Effects(world, vm.name, vm.vif) for vm in world.topology.vms]
        for one in effects:
            clean.callback(one.stop)
        traffic = Traffic(world.handle)
        traffic.start()
        clean.callback(traffic.stop)
        checks = Checks(world, writer.ledger, effects, attacher)
        checks.recovered(time.monotonic())
        dealt = deal(world, random.Random(f"{seed}/faults"), only)
        stuck = 0
        for number in range(1, rounds + 1):
            fault, target = next(dealt)
            scene = Scene(
                world, random.Random(f"{seed}/{number}"), writer, traffic, attacher, f"{seed}/{number}"
            )
            one_round = _round(scene, checks, number, fault, target)
            done.append(one_round)
            say(one_round)
            stuck = stuck + 1 if one_round.recovery is None else 0
            if stuck == _STUCK:
                break
    return done


def _round(scene: Scene, checks: Checks, number: int, fault: Fault, target: str) -> Round:
    scene.traffic.begin()
    scene.lasts(*_LEAD)
    recovery: float | None = None
    try:
        over = fault.inject(scene, target)
        since = over if isinstance(over, float) else time.monotonic()
        recovery = checks.recovered(since)
    except TimeoutError as error:
        return Round(number, fault.name, target, None, 0, 0.0, [*scene.wrong, str(error)])
    except Exception as error:  # the harness has its own troubles: they must not hide the rounds before
        said = " ".join(f"{type(error).__name__}: {error}".split())
        return Round(number, fault.name, target, None, 0, 0.0, [*scene.wrong, f"the harness failed: {said}"])
    hitless = fault.hitless(scene.world, target)
    counts = scene.traffic.counted(_PATIENCE if hitless else _LATE).values()
    scene.writer.pause()
    scene.attacher.pause()
    try:
        wrong = scene.wrong + checks.wrong()
    finally:
        scene.attacher.resume()
        scene.writer.resume()
    lost = sum(count.lost for count in counts)
    if lost and hitless:
        wrong.append(f"{lost} frames of {sum(c.sent for c in counts)} were lost; none may be")
    return Round(
        number, fault.name, target, recovery, lost, max((c.outage for c in counts), default=0.0), wrong
    )
