# SPDX-License-Identifier: Apache-2.0
"""The compiled program does with every frame what the interpreter does: programs that poke what the compiler has to get
right, with random entries, frames and changes.

HVCHANNEL_EQUAL_EXAMPLES sets how many worlds each program has, of 24 frames each.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from hvchannel_softswitch.model import load
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ..traffic.frames import Choices
from .engine_pair import pair
from .random_worlds import World

pytestmark = pytest.mark.root

EXAMPLES = int(os.environ.get("HVCHANNEL_EQUAL_EXAMPLES", "20"))
FRAMES = 24
FOLDERS = (Path(__file__).parent / "programs", Path(__file__).parents[1] / "p4runtime" / "programs")
PROGRAMS = {path.stem: path for folder in FOLDERS for path in sorted(folder.glob("*.json"))}
REFUSED = {"entities"}
"""Outside the subset; docs/engines.md says what is."""
NOT_TRACED = {"state"}
"""The build that traces is more than the kernel's verifier walks."""


class Plan:
    """What hypothesis draws. No dataclass: it would be printed at length."""

    def __init__(self, world: bytes, frames: list[bytes], changes: list[bytes]) -> None:
        self.world, self.frames, self.changes = world, frames, changes

    def __repr__(self) -> str:
        return f"Plan({len(self.frames)} frames, {len(self.changes)} changes)"


def plan_of(seed: int) -> Plan:
    """Bytes that are more varied than those of hypothesis, which shrink better."""
    draw = random.Random(seed).randbytes
    return Plan(draw(600), [draw(400) for _ in range(FRAMES)], [draw(100) for _ in range(FRAMES // 4)])


PLANS = st.integers(0, 2**64).map(plan_of) | st.tuples(
    st.binary(min_size=400, max_size=400),
    st.lists(st.binary(min_size=120, max_size=120), min_size=FRAMES, max_size=FRAMES),
    st.lists(st.binary(min_size=60, max_size=60), max_size=FRAMES),
).map(lambda drawn: Plan(*drawn))


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", sorted(PROGRAMS.keys() - REFUSED))
def test_the_compiled_program_does_what_the_interpreter_does(name: str) -> None:
    compare(name, EXAMPLES, traced=False)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", sorted(PROGRAMS.keys() - REFUSED - NOT_TRACED))
def test_a_trace_says_the_same_of_both(name: str) -> None:
    compare(name, max(EXAMPLES // 8, 1), traced=True)


def compare(name: str, examples: int, *, traced: bool) -> None:
    program = load(PROGRAMS[name].read_bytes())
    world = World(program)

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(plan=PLANS)
    def whatever_comes(plan: Plan) -> None:
        both.reset()
        world.lay(Choices(plan.world), both)
        changes = iter(plan.changes)
        for entropy in plan.frames:
            both.now += 1000
            both.process(*world.frame(Choices(entropy)))
            if (change := next(changes, None)) is not None:
                world.change(Choices(change), both)
        both.compare()

    with pair(program) as both:
        if traced:
            both.trace()
        whatever_comes()
        assert traced or both.sent > both.frames // 20, "some frames should get out"
