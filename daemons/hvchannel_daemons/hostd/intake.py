# SPDX-License-Identifier: Apache-2.0
"""Reports of one guest on their way to the feed: bounded, and no faster than the VIF's quota says.

A guest that says more is slowed, not cut off: its reports are acknowledged later, so it keeps them and sends no more.
One that sends more all the same is not read until there is room.
"""

import asyncio
import math
from collections import deque
from typing import Final

from hvchannel_daemons import limits
from hvchannel_daemons.feed import Quota, Report

REPORTS: Final = 64  # as many as a guest may have unacknowledged
BYTES: Final = 4 * limits.MIB
BURST_SECONDS: Final = 4.0  # a guest that was silent may say at once what it could have said in this time

_DEFAULT: Final = Quota().reports_per_second


class Intake:
    """Allows what the default quota does until `set_rate` is called, which `rate_is_old` asks for at once."""

    def __init__(self, per_second: float = _DEFAULT) -> None:
        self._clock = asyncio.get_running_loop().time
        self._waiting: deque[Report] = deque()
        self._bytes = 0
        self._changed = asyncio.Event()
        self.per_second = per_second
        self._counted = self._clock()
        self._rated = -math.inf
        self._allowed = self._most

    @property
    def _most(self) -> float:
        return max(1.0, self.per_second * BURST_SECONDS)

    def set_rate(self, per_second: float) -> None:
        self._count()
        self.per_second = per_second
        self._rated = self._clock()
        self._allowed = min(self._allowed, self._most)

    def rate_is_old(self, seconds: float) -> bool:
        """Whether it was set longer ago than that."""
        return self._clock() - self._rated > seconds

    def has_room(self, size: int) -> bool:
        """For a report of that many bytes; a single one always has."""
        return not self._waiting or (len(self._waiting) < REPORTS and self._bytes + size <= BYTES)

    async def room(self, size: int, seconds: float) -> bool:
        """Whether there is room, waiting for it at most that long."""
        try:
            async with asyncio.timeout(seconds):
                while not self.has_room(size):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def put(self, report: Report) -> None:
        self._waiting.append(report)
        self._bytes += len(report.data)
        self._changed.set()

    @property
    def is_idle(self) -> bool:
        """Nothing waits, and the guest could say half as much at once as ever."""
        self._count()
        return not self._waiting and self._allowed >= self._most / 2

    async def some(self) -> None:
        """Returns when a report waits."""
        while not self._waiting:
            self._changed.clear()
            await self._changed.wait()

    def pause(self) -> float:
        """Seconds until one more report may be taken; 0 when one may now."""
        self._count()
        return max(0.0, (1.0 - self._allowed) / self.per_second)

    def take(self) -> list[Report]:
        """Those that wait and may be taken now, oldest first; at least one after a `pause` of 0."""
        count = min(len(self._waiting), int(self._allowed + 1e-6))
        taken = [self._waiting.popleft() for _ in range(count)]
        self._allowed -= count
        self._bytes -= sum(len(report.data) for report in taken)
        self._changed.set()
        return taken

    def _count(self) -> None:
        now = self._clock()
        self._allowed = min(self._most, self._allowed + (now - self._counted) * self.per_second)
        self._counted = now
