# SPDX-License-Identifier: Apache-2.0
"""Idle timeouts of one table: packets note in an entry's record when they hit it, and timeouts are kept there too."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from hvchannel_softswitch.xdp.lineage import Lineage
from hvchannel_softswitch.xdp.records import Records


class IdleTimes:
    """The times of the entries by slot, in nanoseconds of the clock that packets note."""

    def __init__(self, records: Records, lineage: Lineage, clock: Callable[[], int]) -> None:
        self._records = records
        self._lineage = lineage
        self._clock = clock
        self._notified: dict[int, int] = {}

    def last_hit(self, slot: int) -> int:
        """When the entry's last packet was, or else its insertion."""
        records = self._records
        return max(max(records.hit(place), records.earlier(place)) for place in self._lineage.slots(slot))

    def timeout(self, slot: int) -> int:
        """0: never."""
        return self._records.timeout(slot)

    def set_timeout(self, slot: int, timeout: int) -> None:
        """Restarts the entry's idle time."""
        self._records.set_timeout(slot, timeout)
        if timeout:
            self._notified[slot] = self._clock()
        else:
            self._notified.pop(slot, None)

    def move(self, old: int, new: int) -> None:
        """The entry goes to another slot; its record has been copied."""
        if old in self._notified:
            self._notified[new] = self._notified.pop(old)

    def inherit(self, slot: int, heir: int) -> None:
        """The entry's old slot is about to be used again. Not stored over the heir's last packet: the next could come
        at that moment."""
        records = self._records
        records.set_earlier(heir, max(records.hit(slot), records.earlier(slot), records.earlier(heir)))

    def end(self, slot: int) -> None:
        """The entry is gone."""
        self._notified.pop(slot, None)

    def adopt(self, slot: int) -> None:
        """An entry that was there before. It may be told of once more than it should."""
        if self._records.timeout(slot):
            self._notified[slot] = 0

    def expired(self) -> Iterator[int]:
        """The slots of the entries that have been idle for their whole timeout, since their last packet or since they
        were last in this list."""
        now = self._clock()
        for slot, notified in list(self._notified.items()):
            if now - max(self.last_hit(slot), notified) >= self._records.timeout(slot):
                self._notified[slot] = now
                yield slot
