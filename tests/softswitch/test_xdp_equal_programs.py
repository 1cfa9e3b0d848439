# SPDX-License-Identifier: Apache-2.0
"""The compiled program does with every frame what the interpreter does: programs that poke what the compiler has to get
right, with random entries, frames and changes.

HVCHANNEL_EQUAL_EXAMPLES sets how many worlds each program has, of 24 frames each.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hvchannel_softswitch.model import load
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ..traffic.frames import Choices
from .engine_pair import pair
from .random_worlds import World

pytestmark = pytest.mark.root

EXAMPLES = int(os.environ.get("HVCHANNEL_EQUAL_EXAMPLES", "40"))
FRAMES = 24
FOLDERS = (Path(__file__).parent / "programs", Path(__file__).parents[1] / "p4runtime" / "programs")
PROGRAMS = {path.stem: path for folder in FOLDERS for path in sorted(folder.glob("*.json"))}
REFUSED = {"entities"}
"""Outside the subset; docs/engines.md says what is."""


class Plan:
    """What hypothesis draws. No dataclass: it would be printed at length."""

    def __init__(self, world: bytes, frames: list[bytes], changes: list[bytes]) -> None:
        self.world, self.frames, self.changes = world, frames, changes

    def __repr__(self) -> str:
        return f"Plan({len(self.frames)} frames, {len(self.changes)} changes)"


PLANS = st.tuples(
    st.binary(min_size=400, max_size=400),
    st.lists(st.binary(min_size=120, max_size=120), min_size=FRAMES, max_size=FRAMES),
    st.lists(st.binary(min_size=60, max_size=60), max_size=FRAMES),
).map(lambda drawn: Plan(*drawn))


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", sorted(PROGRAMS.keys() - REFUSED))
def test_the_compiled_program_does_what_the_interpreter_does(name: str) -> None:
    program = load(PROGRAMS[name].read_bytes())
    world = World(program)

    @settings(
        max_examples=EXAMPLES,
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
        whatever_comes()
        assert both.sent > both.frames // 20, "some frames should get out"
