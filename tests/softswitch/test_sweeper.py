# SPDX-License-Identifier: Apache-2.0
"""Idle entries are looked for in the engine in charge, and in no other: one that has been put aside may be closed."""

from __future__ import annotations

import asyncio

from hvchannel_softswitch.sweeper import Sweeper


class Engine:
    """Counts how often it is swept."""

    has_timeouts = True

    def __init__(self) -> None:
        self.swept = asyncio.Event()
        self.times = 0

    def sweep_idle(self) -> None:
        self.times += 1
        self.swept.set()


async def test_one_engine_at_a_time_is_swept_again_and_again() -> None:
    loop, sweeper, before, after = asyncio.get_running_loop(), Sweeper(), Engine(), Engine()
    sweeper.sweep(loop, before)
    sweeper.sweep(loop, after)
    for _ in range(2):
        await asyncio.wait_for(after.swept.wait(), 10)
        after.swept.clear()
    sweeper.sweep(loop, None)
    assert (before.times, after.times) == (0, 2)


async def test_an_engine_that_was_put_aside_is_not_swept() -> None:
    loop, sweeper, aside, witness = asyncio.get_running_loop(), Sweeper(), Engine(), Engine()
    sweeper.sweep(loop, aside)
    sweeper.sweep(loop, None)
    other = Sweeper()
    other.sweep(loop, witness)  # begun later, so it ends later
    await asyncio.wait_for(witness.swept.wait(), 10)
    other.sweep(loop, None)
    assert aside.times == 0
