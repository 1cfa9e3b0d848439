# SPDX-License-Identifier: Apache-2.0
"""The two-switch path H - switch - VNIC - switch - V, over every kind of switch side by side.

All routes are up at the same time, each in namespaces of its own, and take turns: what else the machine does meanwhile
meets them all. A figure is the median over the rounds. The P4 switches run our two programs with the controller's
entries for a whole hypervisor, so that each frame is looked up in every stage, tagged and translated.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from hvchannel_lab.topology import Topology, plan
from rich.console import Console

from bench import goals, memory
from bench.figures import Figure
from bench.routes import kernel, ovs, p4switches, redirects
from bench.routes.route import Route, Unavailable
from bench.turn import Measure, Turn, take

ROUNDS = 7
FLOOR, BMV2, XDP = redirects.KEY, "bmv2", "xdp"
ROUTES: dict[str, Callable[[Topology], AbstractContextManager[Route]]] = {
    "bare": kernel.bare,
    FLOOR: redirects.static_redirects,
    "bridges": kernel.bridges,
    "ovs": ovs.userspace_bridges,
    BMV2: p4switches.bmv2,
    "interpreter": p4switches.interpreter,
    XDP: p4switches.xdp,
}


def measure(progress: Console, rounds: int = ROUNDS) -> list[Figure]:
    """Every route that this machine can have. Raises OSError, SwitchError."""
    with tempfile.TemporaryDirectory(prefix="hvc-bench-") as state, ExitStack() as up:
        routes = _bring_up(Path(state), up, progress)
        turns: dict[str, list[Turn]] = {route.key: [] for route in routes}
        for number in range(rounds):
            # Each round begins with another route: none has always the same one before it.
            first = number % len(routes)
            for route in (*routes[first:], *routes[:first]):
                turn = take(route)
                turns[route.key].append(turn)
                _tell(progress, f"round {number + 1} of {rounds}, {route.name}", turn)
        return [*figures_of(routes, turns), *memory.resident_memory(routes, BMV2)]


def _bring_up(state: Path, up: ExitStack, progress: Console) -> list[Route]:
    routes = []
    for number, (key, make) in enumerate(ROUTES.items()):
        topology = plan(f"bench-{os.getpid()}-{number}", state / key, 1)
        try:
            routes.append(up.enter_context(make(topology)))
        except Unavailable as reason:
            progress.print(f"skipped: {key} ({reason})")
    return routes


def _tell(progress: Console, what: str, turn: Turn) -> None:
    values = ", ".join(f"{value:,.0f} {measure.unit}" for measure, value in turn.values.items())
    progress.print(f"{what}: {values}")
    if turn.overflowed:
        progress.print(f"  the receiver's own socket had no room for {turn.overflowed:,} packets")
    for failure in turn.failures:
        progress.print(f"  failed: {failure}")


def figures_of(routes: Sequence[Route], turns: Mapping[str, Sequence[Turn]]) -> list[Figure]:
    """Medians of the turns (by route), each beside the floor's; the xdp row beside bmv2's too, and with its goals."""
    names = {route.key: route.name for route in routes}
    figures: list[Figure] = []
    for measure in Measure:
        medians = {key: median for key in names if (median := _median(turns[key], measure)) is not None}
        for key in medians:
            held_to = goals.AGAINST_FLOOR.get(measure) if key == XDP else None
            figures.append(_figure(measure, medians, names, key, FLOOR, held_to))
        if XDP in medians and BMV2 in medians:
            figures.append(_figure(measure, medians, names, XDP, BMV2, goals.AGAINST_BMV2[measure]))
        if measure is Measure.PACKETS:
            figures += [_lost(key, name, turns[key]) for key, name in names.items()]
    return figures


def _median(turns: Sequence[Turn], measure: Measure) -> float | None:
    values = [turn.values[measure] for turn in turns if measure in turn.values]
    return statistics.median(values) if values else None


def _figure(
    measure: Measure,
    medians: Mapping[str, float],
    names: Mapping[str, str],
    key: str,
    peer: str,
    goal: goals.Goal | None,
) -> Figure:
    title, value = f"{measure.title}: {names[key]}", medians[key]
    if peer not in medians or peer == key:
        return Figure(title, value, measure.unit)
    ratio = value / medians[peer]
    passed = goal.met_by(ratio) if goal else None
    return Figure(title, value, measure.unit, names[peer], ratio, str(goal) if goal else None, passed)


def _lost(key: str, name: str, turns: Sequence[Turn]) -> Figure:
    """Over all rounds."""
    lost, sent = sum(turn.lost for turn in turns), sum(turn.sent for turn in turns)
    goal, passed = ("none", lost == 0) if key == XDP else (None, None)
    return Figure(f"packets lost: {name}", lost, f"of {sent:,} sent", goal=goal, passed=passed)
