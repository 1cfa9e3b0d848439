# SPDX-License-Identifier: Apache-2.0
"""The packets' side of an arena, read from its bytes as `layout` describes them and as the compiled program does, and
an Arena that lets a test look at memory after every single store."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from hvchannel_softswitch.engine import ActionCall, Exact, Lpm, Match, Optional, Range, Ternary
from hvchannel_softswitch.entry_checks import prefix_mask
from hvchannel_softswitch.model import Action, MatchKind, Param, Program, Table, TableKey, load
from hvchannel_softswitch.model.expressions import Const
from hvchannel_softswitch.model.program import Counter, Meter, MeterUnit, NextByAction
from hvchannel_softswitch.xdp.arena import Arena
from hvchannel_softswitch.xdp.layout import LIVE, MAX_CHAIN, Layout, TableLayout, hash_words
from hypothesis import strategies as st

CPUS = 2


class Found(NamedTuple):
    """What a look-up ends with. `rank` is 0 for the default."""

    slot: int
    rank: int
    action: int
    args: tuple[int, ...]

    @property
    def outcome(self) -> tuple[int, int, tuple[int, ...]]:
        """What a packet can tell."""
        return self.rank, self.action, self.args


class Packets:
    """Looks entries of one table up, and counts in them."""

    def __init__(self, layout: Layout, table: str, memory: bytearray) -> None:
        self.layout = layout
        self.here: TableLayout = layout.tables[table]
        self.memory = memory

    def number(self, at: int, size: int) -> int:
        assert at % size == 0
        return int.from_bytes(self.memory[at : at + size], "little")

    def words(self, at: int, count: int) -> tuple[int, ...]:
        return tuple(self.number(at + 8 * word, 8) for word in range(count))

    def look_up(self, values: Sequence[int]) -> Found:
        """All at once."""
        steps = self.walk(values)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                found: Found = end.value
                return found

    def walk(self, values: Sequence[int]) -> Generator[None, None, Found]:
        """Step by step: stops before each read that a store could come before."""
        here = self.here
        yield
        default = self.record(self.number(here.header, 4))
        if not here.buckets:
            return default
        words = here.key.pack(values)
        if here.exact:
            found = yield from self.chain(0, words, values, (2**64 - 1,) * len(words), [MAX_CHAIN])
            return found or default
        best: Found | None = None
        yield
        in_force = self.number(here.header + 4, 4)
        left = [here.max_steps]
        for place in range(in_force >> 1):
            at = here.group_list(in_force & 1) + place * here.group_stride
            yield
            row = self.words(at, here.key.words + 2)
            masks, top, group = row[:-2], row[-2], row[-1]
            if best is not None and top < best.rank:
                break
            left[0] -= 1
            assert left[0] >= 0, "more steps than the compiled program makes"
            masked = tuple(word & mask for word, mask in zip(words, masks, strict=True))
            found = yield from self.chain(group, masked, values, masks, left)
            if found is not None and (best is None or found.rank > best.rank):
                best = found
        return best or default

    def chain(
        self, group: int, words: Sequence[int], values: Sequence[int], masks: Sequence[int], left: list[int]
    ) -> Generator[None, None, Found | None]:
        here = self.here
        at = here.buckets + 4 * (hash_words(group, words) >> here.bucket_shift)
        yield
        while slot := self.number(at, 4):
            left[0] -= 1
            assert left[0] >= 0, "more steps than the compiled program makes"
            entry = here.entry(slot)
            yield
            key = self.words(entry + 24, here.key.words)
            if (
                self.number(entry + 4, 4) == group
                and all(k & mask == word for k, mask, word in zip(key, masks, words, strict=True))
                and self.in_ranges(entry, values)
            ):
                return self.record(slot)
            at = entry
            yield
        return None

    def in_ranges(self, entry: int, values: Sequence[int]) -> bool:
        here = self.here
        if not here.ranged:
            return True
        lows = here.key.unpack(self.words(entry + 24, here.key.words))
        highs = here.key.unpack(self.words(entry + here.high, here.key.words))
        return all(
            low <= value <= high
            for key, low, value, high in zip(here.table.keys, lows, values, highs, strict=True)
            if key.kind is MatchKind.RANGE
        )

    def record(self, slot: int) -> Found:
        here, entry = self.here, self.here.entry(slot)
        assert 0 < slot < here.slots
        assert self.number(entry + 18, 2) & LIVE
        action = self.number(entry + 16, 2)
        packing = here.args[action]
        args = packing.unpack(self.words(entry + here.arguments, packing.words))
        return Found(slot, self.number(entry + 8, 8), action, args)

    def store(self, at: int, value: int) -> None:
        self.memory[at : at + 8] = value.to_bytes(8, "little")

    def count(self, slot: int, cpu: int, octets: int) -> None:
        """One packet of so many bytes met the entry."""
        cell = self.layout.cpus + cpu * self.layout.cpu_stride + self.here.counter + 16 * slot
        self.store(cell, self.number(cell, 8) + 1)
        self.store(cell + 8, self.number(cell + 8, 8) + octets)

    def hit(self, slot: int, now: int) -> None:
        """A packet met the entry."""
        self.store(self.here.entry(slot) + self.here.hit, now)

    def linked(self) -> Iterator[int]:
        """All entries that something leads to, the default's included; chains are in the order of rank."""
        yield self.number(self.here.header, 4)
        for bucket in range(self.here.bucket_count if self.here.buckets else 0):
            last = 2**64
            slot = self.number(self.here.buckets + 4 * bucket, 4)
            while slot:
                yield slot
                rank = self.number(self.here.entry(slot) + 8, 8)
                assert rank < last, "a chain has its larger ranks first"
                last = rank
                slot = self.number(self.here.entry(slot), 4)


class _Watched:
    """A memoryview's items; after each store the watcher is called."""

    def __init__(self, view: Any, watcher: Callable[[], None]) -> None:
        self._view = view
        self._watcher = watcher

    def __getitem__(self, place: Any) -> Any:
        return self._view[place]

    def __setitem__(self, place: int, value: int) -> None:
        assert isinstance(place, int), "one number at a time"
        self._view[place] = value
        self._watcher()


class WatchedArena(Arena):
    """Calls `watcher` after every store of a whole number."""

    def __init__(self, memory: bytearray, size: int) -> None:
        super().__init__(memory, size)
        self.watcher: Callable[[], None] = lambda: None
        self.u16, self.u32, self.u64 = (
            _Watched(view, self._stored) for view in (self.u16, self.u32, self.u64)
        )

    def _stored(self) -> None:
        self.watcher()


class Graces:
    """Holds that no record changes between its retirement and the end of the next grace period, and that a list of mask
    groups does not either. To be called after every store."""

    def __init__(self, packets: Packets) -> None:
        self._packets = packets
        self._linked: set[int] = set()
        self._retired: dict[int, bytes] = {}
        self._in_force: int | None = None
        self._old_lists: dict[int, bytes] = {}
        self.periods = 0

    def look(self) -> None:
        packets = self._packets
        linked = set(packets.linked())
        for slot in self._linked - linked:
            self._retired[slot] = self._bytes(slot)
        self._linked = linked
        for slot, before in self._retired.items():
            assert slot not in linked, f"slot {slot} is in use again before the grace period"
            assert self._bytes(slot) == before, f"slot {slot} changed before the grace period"
        if not packets.here.exact:
            self._look_at_lists()

    def _look_at_lists(self) -> None:
        packets = self._packets
        word = packets.number(packets.here.header + 4, 4)
        if word != self._in_force:
            if self._in_force is not None:
                self._old_lists[self._in_force] = self._list(self._in_force)
            self._in_force = word
        for old, before in self._old_lists.items():
            assert self._list(old) == before, "a list changed before the grace period"

    def _bytes(self, slot: int) -> bytes:
        here = self._packets.here
        return bytes(self._packets.memory[here.entry(slot) : here.entry(slot) + here.hit])

    def _list(self, word: int) -> bytes:
        here = self._packets.here
        at = here.group_list(word & 1)
        return bytes(self._packets.memory[at : at + (word >> 1) * here.group_stride])

    def synchronize(self) -> None:
        """A grace period."""
        self.periods += 1
        self._retired.clear()
        self._old_lists.clear()


# --- tables, keys and packets to try ---------------------------------------------------------------------------------

ANSWER = Action("answer", 1, (Param("value", 32),), ())
WIDE = Action("wide", 2, (Param("big", 100), Param("flag", 1)), ())


@cache
def base_program() -> Program:
    """A whole program, for `program_of`."""
    return load((Path(__file__).parent / "programs" / "lookup.json").read_bytes())


def table_of(
    kinds: Sequence[MatchKind], widths: Sequence[int], *, size: int = 12, direct: bool = True
) -> Table:
    """A table; `direct`: with counters, meters and idle timeouts."""
    keys = tuple(
        TableKey(f"k{place}", width, kind, Const(0))
        for place, (kind, width) in enumerate(zip(kinds, widths, strict=True))
    )
    return Table(
        "t", 1, keys, (ANSWER, WIDE), size, ActionCall("answer", (0,)), False, (), None, None,
        direct, "c" if direct else None, "m" if direct else None, direct, NextByAction({1: None, 2: None}),
    )  # fmt: skip


def program_of(program: Program, table: Table) -> Program:
    """The program with this one table, its counter and its meter."""
    return replace(
        program,
        tables={table.name: table},
        counters={"c": Counter("c", table.max_size, True, table.name), "i": Counter("i", 4, False, None)},
        meters={
            "m": Meter("m", table.max_size, MeterUnit.BYTES, True, table.name, None),
            "j": Meter("j", 4, MeterUnit.PACKETS, False, None, None),
        },
    )


def tight(layout: Layout, slots: int) -> Layout:
    """The layout with fewer slots for its tables, so that they are used again soon and chains are long."""
    tables = {name: replace(table, slots=slots) for name, table in layout.tables.items()}
    return replace(layout, tables=tables)


def value_of(width: int) -> st.SearchStrategy[int]:
    """Few values, so that entries and packets meet: both ends of a wide field vary, its middle does not."""
    if width <= 4:
        return st.integers(0, 2**width - 1)
    return st.builds(lambda low, high: low | high << width - 2, st.integers(0, 3), st.integers(0, 3))


def match_of(kind: MatchKind, width: int) -> st.SearchStrategy[Match]:
    """Valid matches of a kind."""
    values = value_of(width)
    match kind:
        case MatchKind.EXACT:
            return st.builds(Exact, values)
        case MatchKind.LPM:
            lengths = st.sampled_from(sorted({0, 1, 2, width - 2, width - 1, width} - {-1}))
            return st.builds(lambda v, n: Lpm(v & prefix_mask(n, width), n), values, lengths)
        case MatchKind.TERNARY:
            return st.builds(lambda v, m: Ternary(v & m, m), values, values)
        case MatchKind.RANGE:
            return st.builds(lambda a, b: Range(min(a, b), max(a, b)), values, values)
        case MatchKind.OPTIONAL:
            return st.builds(Optional, values | st.none())


CALLS = st.one_of(
    st.builds(lambda value: ActionCall("answer", (value,)), st.integers(0, 2**32 - 1)),
    st.builds(
        lambda big, flag: ActionCall("wide", (big, flag)), st.integers(0, 2**100 - 1), st.integers(0, 1)
    ),
)

_KINDS = {kind.name[0]: kind for kind in MatchKind}

SHAPES: list[tuple[tuple[MatchKind, ...], tuple[int, ...]]] = [
    (tuple(_KINDS[letter] for letter in letters), widths)
    for letters, widths in (
        ("E", (4,)),
        ("EE", (2, 70)),
        ("EEE", (128, 3, 9)),
        ("L", (4,)),
        ("ELE", (2, 130, 2)),
        ("T", (4,)),
        ("TLE", (2, 66, 2)),
        ("OO", (2, 64)),
        ("R", (4,)),
        ("RTEO", (70, 2, 2, 2)),
    )
]
"""Kinds and widths of keys."""
