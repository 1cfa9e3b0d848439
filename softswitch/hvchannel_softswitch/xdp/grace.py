# SPDX-License-Identifier: Apache-2.0
"""When a record's memory may be used again: once no run of the program can still be looking at it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

CHUNK = 256
"""Slots never used so far are put on the free list so many at a time."""

MUCH = 1024
"""Retired records that are worth a grace period, of some milliseconds, at once."""


class Grace:
    """Counts the grace periods of one arena: whatever was unlinked when `generation` was smaller than it is now is out
    of any packet's sight."""

    def __init__(self, synchronize: Callable[[], None]) -> None:
        """`synchronize` returns once every run of the program that began before the call has ended."""
        self._synchronize = synchronize
        self.generation = 0

    def wait_beyond(self, generation: int) -> None:
        """Returns when what was unlinked in `generation` is out of sight; at once if it is already."""
        if generation == self.generation:
            self._synchronize()
            self.generation += 1


class Slots:
    """Which of a number of records are free. Record 0 means none, and is never handed out.

    `free` is what hot paths pop from; when it is empty they call `refill`."""

    def __init__(
        self, capacity: int, grace: Grace, recycle: Callable[[Sequence[int]], None] | None = None
    ) -> None:
        """`recycle` is called with slots that are out of sight, in the order of their retirement, before they
        are free."""
        self.free: list[int] = []
        self._capacity = capacity
        self._fresh = 1
        self._grace = grace
        self._recycle = recycle
        self._retired: list[int] = []
        self._last_retired = 0

    def take(self) -> int:
        """A slot to write a record to."""
        return self.free.pop() if self.free else self.refill()

    def refill(self) -> int:
        """A slot, when `free` is empty: one never used, or else, after a grace period, a retired one."""
        if self._fresh < self._capacity:
            end = min(self._fresh + CHUNK, self._capacity)
            self.free.extend(reversed(range(self._fresh, end)))
            self._fresh = end
        else:
            self.reclaim()
            assert self.free, "there are more slots than can be in use"
        return self.free.pop()

    def retire(self, slot: int) -> None:
        """Nothing leads to the record any more."""
        self._retired.append(slot)
        self._last_retired = self._grace.generation

    def tidy(self) -> None:
        """To be called after a batch: frees what is retired if that is much, so that no insertion has to wait for
        it."""
        if len(self._retired) >= MUCH:
            self.reclaim()

    def reclaim(self) -> None:
        """Frees what is retired, after a grace period where there was none since."""
        if not self._retired:
            return
        self._grace.wait_beyond(self._last_retired)
        retired, self._retired = self._retired, []
        if self._recycle is not None:
            self._recycle(retired)
        self.free.extend(reversed(retired))

    def adopt(self, used: set[int]) -> None:
        """All slots but these are free, and nobody looks at them."""
        self._fresh = max(used, default=0) + 1
        self.free[:] = [slot for slot in range(self._fresh - 1, 0, -1) if slot not in used]
        self._retired = []
