# SPDX-License-Identifier: Apache-2.0
"""Insertions of one action into one table, by the thousand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count, repeat

from hvchannel_softswitch.engine import EntryExists, EntryKey, TableFull
from hvchannel_softswitch.interpreter.tables import LiveEntry, LiveTable, Values
from hvchannel_softswitch.refusals import entry_exists, table_full


class TableInserter:
    """See engine.Inserter."""

    def __init__(self, live: LiveTable, action: str, clock: Callable[[], int]) -> None:
        self._live = live
        self._action = live.actions[action]
        self._clock = clock if live.table.support_timeout else None

    def __call__(self, key: EntryKey, args: Values) -> None:
        """See engine.Inserter."""
        live, by_key = self._live, self._live.by_key
        if len(by_key) >= live.table.max_size:
            raise entry_exists(live.table.name, key) if key in by_key else table_full(live.table)
        entry = LiveEntry(key, live.serial + 1, self._action, args)
        if by_key.setdefault(key, entry) is not entry:
            raise entry_exists(live.table.name, key)
        live.serial += 1
        if self._clock is not None:
            entry.hit = self._clock()
        live.index.add(entry)

    def many(self, keys: Sequence[EntryKey], args: Sequence[Values]) -> int:
        """See engine.Inserter."""
        live, by_key = self._live, self._live.by_key
        is_plain = by_key.keys().isdisjoint(keys) and len(set(keys)) == len(keys)
        if not is_plain or len(by_key) + len(keys) > live.table.max_size:
            return self._until_refused(keys, args)
        entries = [*map(LiveEntry, keys, count(live.serial + 1), repeat(self._action), args)]
        live.serial += len(entries)
        if self._clock is not None:
            now = self._clock()
            for entry in entries:
                entry.hit = now
        by_key.update(zip(keys, entries, strict=True))
        live.index.add_all(entries)
        return len(entries)

    def _until_refused(self, keys: Sequence[EntryKey], args: Sequence[Values]) -> int:
        for place, (key, values) in enumerate(zip(keys, args, strict=True)):
            try:
                self(key, values)
            except (EntryExists, TableFull):
                return place
        return len(keys)
