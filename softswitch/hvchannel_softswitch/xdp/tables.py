# SPDX-License-Identifier: Apache-2.0
"""A table in the arena: what all kinds of tables have in common. How entries are linked, so that a look-up finds
them, is the part of `exact_table` and `masked_table`.

The arena is where the entries are; this process keeps nothing for an entry, but for one with an idle timeout and, for
a while, for one that was modified.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence

from hvchannel_softswitch.engine import (
    ActionCall,
    CounterData,
    EngineError,
    Entry,
    EntryKey,
    Insert,
    Inserter,
    MeterConfig,
)
from hvchannel_softswitch.entry_checks import check_key
from hvchannel_softswitch.refusals import no_such_entry
from hvchannel_softswitch.xdp.arena import Arena
from hvchannel_softswitch.xdp.counters import Cells
from hvchannel_softswitch.xdp.fields import matches_function, split_function
from hvchannel_softswitch.xdp.grace import Grace, Slots
from hvchannel_softswitch.xdp.idle import IdleTimes
from hvchannel_softswitch.xdp.layout import CONST, HEADER_DEFAULT, LIVE, Layout
from hvchannel_softswitch.xdp.lineage import Lineage
from hvchannel_softswitch.xdp.meters import MeterPool
from hvchannel_softswitch.xdp.packing import WORD_MASK
from hvchannel_softswitch.xdp.records import LAST_SERIAL, Records, Row


class TableInserter:
    """See engine.Inserter."""

    def __init__(self, insert: Insert) -> None:
        self._insert = insert

    def __call__(self, key: EntryKey, args: tuple[int, ...]) -> None:
        """See engine.Inserter."""
        self._insert(key, args)

    def many(self, keys: Sequence[EntryKey], args: Sequence[tuple[int, ...]]) -> int:
        """See engine.Inserter."""
        insert, done = self._insert, 0
        try:
            for key, values in zip(keys, args, strict=True):
                insert(key, values)
                done += 1
        except EngineError:
            pass  # the caller comes to it by itself
        return done


class LiveTable(ABC):
    """The entries of one table. Keys and actions are checked by the caller where they are written."""

    def __init__(
        self, arena: Arena, layout: Layout, name: str, grace: Grace, clock: Callable[[], int]
    ) -> None:
        """Nothing is written yet: see `fill`, and `adoption` for an arena in use."""
        here = layout.tables[name]
        self.layout, self.table = here, here.table
        self.count = 0
        """Entries, not the default."""
        self.serial = 0
        """That of the entry last inserted."""
        self.records = Records(arena, here)
        self.slots = Slots(here.slots, grace, self._recycle)
        self.lineage = Lineage()
        self.split = split_function(self.table.keys, here.key)
        self.matches = matches_function(self.table.keys, here.key)
        self.cells = Cells(arena, layout, here.counter) if self.table.with_counters else None
        self.meters: MeterPool | None = None
        if self.table.direct_meter is not None:
            self.meters = MeterPool(arena, here.meter_pool, here.slots, grace, clock)
        self.idle: IdleTimes | None = None
        if self.table.support_timeout:
            self.idle = IdleTimes(self.records, self.lineage, clock)
        self._arena = arena
        self._clock = clock
        self._default_at = (here.header + HEADER_DEFAULT) // 4
        self._inserters: dict[str, Inserter] = {}

    def fill(self) -> None:
        """The program's own default and entries, into memory that is all zero. They get the first slots, in their
        order, which the compiled program relies on."""
        self.set_default(self.table.default_action)
        for entry in self.table.entries:
            assert isinstance(entry.action, ActionCall), (
                "a table with an action profile has no entries of its own"
            )
            number = self.records.action_number(entry.action.name)
            flags = LIVE | (CONST if entry.is_const else 0)
            self.make_inserter(number, flags)(entry.key, entry.action.args)
        self.flush()

    @abstractmethod
    def make_inserter(self, action: int, flags: int) -> Insert:
        """See `engine.Insert`. Raises EngineError too where look-ups would take too long."""

    @abstractmethod
    def locate(self, key: EntryKey) -> tuple[int, int]:
        """The place in `arena.u32` of the number that leads to a valid key's entry, and the entry's slot, 0 where there
        is no such entry."""

    @abstractmethod
    def key_of(self, row: Row) -> EntryKey:
        """The key of an entry."""

    @abstractmethod
    def begin_adoption(self) -> None:
        """Before the first `adopt_entry`. Raises ArenaError."""

    @abstractmethod
    def adopt_entry(self, slot: int, length: int) -> bool:
        """Takes note of an entry that is there, the chain's `length`th; False for one that packets cannot see."""

    @abstractmethod
    def unlinked(self, key: EntryKey) -> None:
        """The entry with this key has just gone."""

    @abstractmethod
    def flush(self) -> None:
        """See Engine."""

    def inserter(self, action: str) -> Inserter:
        """For many insertions of one action. Raises KeyError for one that the table does not have."""
        found = self._inserters.get(action)
        if found is None:
            number = self.records.action_number(action)
            found = self._inserters[action] = TableInserter(self.make_inserter(number, LIVE))
        return found

    def modify(self, key: EntryKey, call: ActionCall) -> None:
        """Raises NoSuchEntry."""
        at, old = self._located(key)
        new = self.slots.take()
        self.records.copy(old, new, call)
        self._arena.u32[at] = new
        self.lineage.replace(old, new)
        if self.idle is not None:
            self.idle.move(old, new)
        self.slots.retire(old)

    def delete(self, key: EntryKey) -> None:
        """Raises NoSuchEntry."""
        at, slot = self._located(key)
        self._arena.u32[at] = self._arena.u32[self.next_of(slot)]
        self.count -= 1
        self.unlinked(key)
        if self.idle is not None:
            self.idle.end(slot)
        if self.meters is not None:
            self.meters.retire(self.records.meter(slot))
        self.slots.retire(slot)

    def next_of(self, slot: int) -> int:
        """The place in `arena.u32` of the number that leads on from this entry."""
        return self.records.next.start + slot * self.records.next.step

    def find(self, key: EntryKey) -> tuple[int, int]:
        """As `locate`, of any key, valid or not."""
        try:
            check_key(self.table, key)
        except EngineError:
            return 0, 0
        return self.locate(key) if self.layout.buckets else (0, 0)

    def slot_of(self, key: EntryKey) -> int:
        """Raises NoSuchEntry."""
        return self._located(key)[1]

    def _located(self, key: EntryKey) -> tuple[int, int]:
        at, slot = self.find(key)
        if not slot:
            raise no_such_entry(self.table.name, key)
        return at, slot

    def entry_of(self, slot: int) -> Entry:
        """As the control plane wrote it."""
        row = self.records.read(slot)
        return Entry(self.key_of(row), self.records.call(row), row.is_const)

    def entries(self) -> list[Entry]:
        """All of them, the oldest first."""
        return [self.entry_of(slot) for slot in sorted(self.linked(), key=self.age, reverse=True)]

    def age(self, slot: int) -> int:
        """Of two entries the older one has the larger number."""
        return self.records.read_rank(slot) & LAST_SERIAL

    def heads(self) -> Iterator[int]:
        """The places in `arena.u32` of the buckets in use."""
        start, end = self.layout.buckets // 4, self.layout.buckets // 4 + self.layout.bucket_count
        if self.layout.buckets:
            yield from (at for at, slot in enumerate(self._arena.u32[start:end].tolist(), start) if slot)

    def linked(self) -> Iterator[int]:
        """The slots of all entries, chain by chain."""
        u32 = self._arena.u32
        for at in self.heads():
            slot = u32[at]
            while slot:
                yield slot
                slot = u32[self.next_of(slot)]

    @property
    def default(self) -> int:
        """The slot of what a miss runs."""
        return self._arena.u32[self._default_at]

    def set_default(self, call: ActionCall) -> None:
        """Misses run it from now on."""
        slot, before = self.slots.take(), self.default
        self.records.write_unlinked(slot, call, LIVE)
        self._arena.u32[self._default_at] = slot
        if before:
            self.slots.retire(before)

    def read_counter(self, slot: int) -> CounterData:
        """Of all packets of the entry; zero in a table without counters."""
        if self.cells is None:
            return CounterData()
        parts = [self.cells.read(place) for place in self.lineage.slots(slot)]
        packets, octets = sum(part.packets for part in parts), sum(part.bytes for part in parts)
        # A part that was set back is negative.
        return CounterData(packets & WORD_MASK, octets & WORD_MASK)

    def write_counter(self, slot: int, data: CounterData) -> None:
        """From now on the entry's counter goes on from `data`."""
        if self.cells is not None:
            now = self.read_counter(slot)
            self.cells.add(slot, data.packets - now.packets, data.bytes - now.bytes)

    def read_meter(self, slot: int) -> MeterConfig | None:
        """None: always green."""
        return None if self.meters is None else self.meters.config(self.records.meter(slot))

    def write_meter(self, slot: int, config: MeterConfig | None) -> None:
        """Buckets start full. Raises EngineError in a table without a meter."""
        if self.meters is None:
            raise EngineError(f"table {self.table.name!r} has no direct meter")
        before, record = self.records.meter(slot), self.meters.make(config)
        self.records.set_meter(slot, record)
        self.meters.retire(before)

    def renumber(self) -> int:
        """Serials from 1 on, in the order of the entries; the last one. Serials only ever get smaller, and the older
        entry's first, so that packets find the same order at every moment."""
        self.slots.reclaim()
        slots = sorted(self.linked(), key=self.age, reverse=True)
        for serial, slot in enumerate(slots, 1):
            rank = self.records.read_rank(slot)
            self.records.write_rank(slot, (rank | LAST_SERIAL) - serial)
        self.serial = len(slots)
        return self.serial

    def _recycle(self, retired: Sequence[int]) -> None:
        for slot in retired:
            self.bequeath(slot, self.lineage.end(slot))

    def bequeath(self, slot: int, heir: int | None) -> None:
        """Frees a slot that no packet sees: what it counted and when it was hit go to its heir, if it has one."""
        if self.cells is not None:
            if heir is not None:
                data = self.cells.read(slot)
                self.cells.add(heir, data.packets, data.bytes)
            self.cells.clear(slot)
        if self.idle is not None and heir is not None:
            self.idle.inherit(slot, heir)
        self.records.clear_flags(slot)
