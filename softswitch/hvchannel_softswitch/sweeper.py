# SPDX-License-Identifier: Apache-2.0
"""Looks at entries for having been idle, now and then, while a program that has idle timeouts is in charge."""

from __future__ import annotations

import asyncio
from typing import Protocol

SWEEP_SECONDS = 0.25
"""How often entries are looked at."""


class Swept(Protocol):
    """An engine, as far as it is swept."""

    @property
    def has_timeouts(self) -> bool:
        """Whether `sweep_idle` has work."""

    def sweep_idle(self) -> None:
        """Tells of every entry that has been idle for its whole timeout."""


class Sweeper:
    """Sweeps one engine at a time."""

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None

    def sweep(self, loop: asyncio.AbstractEventLoop | None, engine: Swept | None) -> None:
        """From now on this engine, on this loop; None of either: nothing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if loop is not None and engine is not None and engine.has_timeouts:
            self._timer = loop.call_later(SWEEP_SECONDS, self._once, loop, engine)

    def _once(self, loop: asyncio.AbstractEventLoop, engine: Swept) -> None:
        engine.sweep_idle()
        self.sweep(loop, engine)
