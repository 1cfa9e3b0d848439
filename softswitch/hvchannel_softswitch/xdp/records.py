# SPDX-License-Identifier: Apache-2.0
"""The entries of one table as records of the arena, whatever leads to them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from hvchannel_softswitch.engine import ActionCall
from hvchannel_softswitch.xdp.arena import Arena
from hvchannel_softswitch.xdp.fields import Words, pack_function, unpack_function
from hvchannel_softswitch.xdp.layout import (
    ACTION,
    CONST,
    FLAGS,
    GROUP,
    KEY,
    LIVE,
    METER,
    NEXT,
    RANK,
    TableLayout,
)

LAST_SERIAL = (1 << 32) - 1

MAX_PRIORITY = (1 << 32) - 1

PRIORITY_SHIFT = 32
"""A rank's priority begins at this bit."""

HEAD = "<IIQHHI"
"""The record's fixed part, for struct: next, group, rank, action, flags, meter."""


class Row(NamedTuple):
    """A record as it is read."""

    group: int
    rank: int
    action: int
    is_const: bool
    words: tuple[int, ...]
    """Those of the key, of the ranges' high ends where there are ranges, and of the arguments."""


class Place(NamedTuple):
    """Where records have a number: that of slot `s` is `arena.u32[start + s * step]`, or u16 or u64."""

    start: int
    step: int


class Records:
    """Reads and writes records by their slot."""

    def __init__(self, arena: Arena, layout: TableLayout) -> None:
        self._arena = arena
        self._layout = layout
        self._names = {action.name: number for number, action in enumerate(layout.table.actions)}
        self.pack_args = tuple(map(pack_function, layout.args))
        self._unpack_args = tuple(map(unpack_function, layout.args))
        self._high_word = layout.key.words if layout.ranged else 0
        self._first_argument = layout.key.words + self._high_word
        self._row = struct.Struct(f"{HEAD}{(layout.hit - KEY) // 8}Q")
        self.next = self.place(NEXT, 4)
        self.group = self.place(GROUP, 4)
        self.rank = self.place(RANK, 8)
        self.key = self.place(KEY, 8)
        self.high = self.place(layout.high, 8)
        self.flags = self.place(FLAGS, 2)
        self._action = self.place(ACTION, 2)
        self._meter = self.place(METER, 4)
        self._arguments = self.place(layout.arguments, 8)
        self._hit = self.place(layout.hit, 8)

    def place(self, offset: int, size: int) -> Place:
        """Of a number of `size` bytes at this offset in the record."""
        return Place((self._layout.entries + offset) // size, self._layout.stride // size)

    def format(self, action: int) -> struct.Struct:
        """Of a whole record: its head, key words, high words, arguments, times. What other actions need
        more room for is zero."""
        layout = self._layout
        keys = layout.key.words * (2 if layout.ranged else 1)
        words = layout.args[action].words
        spare = layout.hit - layout.arguments - 8 * words
        record = struct.Struct(f"{HEAD}{keys + words}Q{spare}x{layout.stride - layout.hit}x")
        assert record.size == layout.stride
        return record

    def action_number(self, name: str) -> int:
        """Its place in the table's list. Raises KeyError."""
        return self._names[name]

    def write_unlinked(self, slot: int, call: ActionCall, flags: int) -> None:
        """A record in no chain: a default."""
        number, layout = self._names[call.name], self._layout
        keys = (0,) * (layout.key.words * (2 if layout.ranged else 1))
        head = (0, 0, 0, number, flags, 0)
        args = self.pack_args[number](call.args)
        self.format(number).pack_into(self._arena.buffer, layout.entry(slot), *head, *keys, *args)

    def copy(self, old: int, new: int, call: ActionCall) -> None:
        """The same entry with another action, `next` included, for the caller to publish in its place."""
        arena, layout = self._arena, self._layout
        begin, target = layout.entry(old), layout.entry(new)
        arena.buffer[target : target + layout.stride] = arena.buffer[begin : begin + layout.stride]
        number = self._names[call.name]
        arena.u16[self._action.start + new * self._action.step] = number
        words = self.pack_args[number](call.args)
        at = self._arguments.start + new * self._arguments.step
        for word in range((layout.hit - layout.arguments) // 8):
            arena.u64[at + word] = words[word] if word < len(words) else 0

    def read(self, slot: int) -> Row:
        """All of it but its place in a chain, its meter and its times."""
        numbers = self._row.unpack_from(self._arena.buffer, self._layout.entry(slot))
        _, group, rank, action, flags, _ = numbers[:6]
        return Row(group, rank, action, bool(flags & CONST), numbers[6:])

    def call(self, row: Row) -> ActionCall:
        """A record's action."""
        args = self._unpack_args[row.action](row.words[self._first_argument :])
        return ActionCall(self._layout.table.actions[row.action].name, args)

    def highs(self, row: Row) -> Words:
        """The words of the ranges' high ends; the key's in a table without ranges."""
        return row.words[self._high_word :]

    def key_words(self, slot: int) -> Words:
        """Of the values; of a range, its low end."""
        return tuple(self._arena.words(self._layout.entry(slot) + KEY, self._layout.key.words))

    def high_words(self, slot: int) -> Sequence[int]:
        """Of the ranges' high ends; zeros in a table without ranges."""
        layout = self._layout
        if not layout.ranged:
            return (0,) * layout.key.words
        return self._arena.words(layout.entry(slot) + layout.high, layout.key.words)

    def read_flags(self, slot: int) -> int:
        """LIVE, CONST."""
        return self._arena.u16[self.flags.start + slot * self.flags.step]

    def has_action(self, slot: int) -> bool:
        """Whether its action is one of the table's."""
        return self._arena.u16[self._action.start + slot * self._action.step] < len(self._layout.args)

    def all_live(self) -> list[int]:
        """The slots with records that were complete at some time and are not free, linked or not."""
        start, step = self.flags
        flags = self._arena.u16[start : start + self._layout.slots * step : step].tolist()
        return [slot for slot, flag in enumerate(flags) if flag & LIVE]

    def clear_flags(self, slot: int) -> None:
        """Of a slot that is free from now on."""
        self._arena.u16[self.flags.start + slot * self.flags.step] = 0

    def read_rank(self, slot: int) -> int:
        """Its rank."""
        return self._arena.u64[self.rank.start + slot * self.rank.step]

    def write_rank(self, slot: int, rank: int) -> None:
        """In place: the order of the entries must stay what it is."""
        self._arena.u64[self.rank.start + slot * self.rank.step] = rank

    def meter(self, slot: int) -> int:
        """Its record in the meter pool."""
        return self._arena.u32[self._meter.start + slot * self._meter.step]

    def set_meter(self, slot: int, record: int) -> None:
        """Publishes a meter's record."""
        self._arena.u32[self._meter.start + slot * self._meter.step] = record

    def hit(self, slot: int) -> int:
        """When its last packet was, nanoseconds."""
        return self._arena.u64[self._hit.start + slot * self._hit.step]

    def set_hit(self, slot: int, now: int) -> None:
        """Before packets see the record."""
        self._arena.u64[self._hit.start + slot * self._hit.step] = now

    def timeout(self, slot: int) -> int:
        """After how many nanoseconds without a packet it is idle; 0: never."""
        return self._arena.u64[self._hit.start + slot * self._hit.step + 1]

    def set_timeout(self, slot: int, timeout: int) -> None:
        """See `timeout`; packets do not look at it."""
        self._arena.u64[self._hit.start + slot * self._hit.step + 1] = timeout

    def earlier(self, slot: int) -> int:
        """When the entry's last packet in another slot was; 0: it has not moved."""
        return self._arena.u64[self._hit.start + slot * self._hit.step + 2]

    def set_earlier(self, slot: int, hit: int) -> None:
        """See `earlier`; packets do not look at it."""
        self._arena.u64[self._hit.start + slot * self._hit.step + 2] = hit
