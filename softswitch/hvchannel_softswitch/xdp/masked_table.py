# SPDX-License-Identifier: Apache-2.0
"""Tables with lpm, ternary, range or optional keys: a chain for each mask group (see `groups`), sorted by rank."""

from __future__ import annotations

from collections.abc import Callable

from hvchannel_softswitch.engine import EngineError, EntryKey, Insert
from hvchannel_softswitch.model import MatchKind
from hvchannel_softswitch.refusals import entry_exists, table_full
from hvchannel_softswitch.xdp.arena import Arena
from hvchannel_softswitch.xdp.bounds import steps, too_many_groups, too_many_steps
from hvchannel_softswitch.xdp.fields import Words
from hvchannel_softswitch.xdp.grace import Grace
from hvchannel_softswitch.xdp.groups import MaskGroup, MaskGroups
from hvchannel_softswitch.xdp.layout import GROUPS, Layout, hash_words
from hvchannel_softswitch.xdp.records import LAST_SERIAL, PRIORITY_SHIFT, Row
from hvchannel_softswitch.xdp.tables import LiveTable


class MaskedTable(LiveTable):
    """A table with keys that are not all exact."""

    def __init__(
        self, arena: Arena, layout: Layout, name: str, grace: Grace, clock: Callable[[], int]
    ) -> None:
        super().__init__(arena, layout, name, grace, clock)
        self.groups = MaskGroups(arena, self.layout, grace)
        self.lengths = [0] * (self.layout.max_steps + 2)
        """How many chains there are of each length; of 0 does not count."""
        self._longest = 0
        self._lpm = [number for number, key in enumerate(self.table.keys) if key.kind is MatchKind.LPM]

    def begin_adoption(self) -> None:
        """See LiveTable."""
        self.groups.adopt()

    @property
    def longest(self) -> int:
        """Entries in the longest chain."""
        while self._longest and not self.lengths[self._longest]:
            self._longest -= 1
        return self._longest

    def make_inserter(self, action: int, flags: int) -> Insert:
        """See LiveTable."""
        layout, records = self.layout, self.records
        u32, u64, buffer = self._arena.u32, self._arena.u64, self._arena.buffer
        name, max_size, ranged = self.table.name, self.table.max_size, layout.ranged
        split, groups, pack = self.split, self.groups, records.pack_args[action]
        write, first, stride = records.format(action).pack_into, layout.entries, layout.stride
        rank_start, rank_step = records.rank
        next_start, next_step = records.next
        free, refill = self.slots.free, self.slots.refill

        def insert(key: EntryKey, args: tuple[int, ...]) -> None:
            masks, words, highs = split(key.matches)
            priority = self._priority(key)
            group = groups.get(masks)
            number = groups.next_number if group is None else group.number
            at = place = self._bucket(number, masks, words)
            length, sorted_in = 1, False
            while slot := u32[at]:
                theirs = u64[rank_start + slot * rank_step] >> PRIORITY_SHIFT
                if theirs == priority and self._is(slot, number, words, highs):
                    raise entry_exists(name, key)
                if theirs < priority and not sorted_in:
                    place, sorted_in = at, True
                at = next_start + slot * next_step
                length += 1
            if self.count >= max_size:
                raise table_full(self.table)
            if (refusal := self._refusal(group, length)) is not None:
                if groups.tidy():
                    insert(key, args)
                    return
                raise refusal
            if group is None:
                group = groups.make(masks)
            if not sorted_in:
                place = at
            slot = free.pop() if free else refill()
            serial = self.serial + 1
            if serial == LAST_SERIAL:
                serial = self.renumber() + 1
            self.serial = serial
            rank = priority << PRIORITY_SHIFT | LAST_SERIAL - serial
            keys = (*words, *highs) if ranged else words
            write(
                buffer, first + slot * stride, u32[place], number, rank, action, flags, 0, *keys, *pack(args)
            )
            if self.idle is not None:
                records.set_hit(slot, self._clock())
            u32[place] = slot
            self.count += 1
            groups.add(group, priority)
            self.grew(length)

        return insert

    def _refusal(self, group: MaskGroup | None, length: int) -> EngineError | None:
        """Of an entry of this group, a new one if it is None, that would be a chain's `length`th."""
        used = self.groups.used + (group is None or not group.count)
        if used > GROUPS:
            return too_many_groups(self.table.name)
        groups, longest = max(self.groups.listed, used), max(self.longest, length)
        if steps(groups, longest) > self.layout.max_steps:
            return too_many_steps(self.table.name, groups, longest, self.layout.max_steps)
        return None

    def adopt_entry(self, slot: int, length: int) -> bool:
        """See LiveTable."""
        number = self.group_of(slot)
        if not self.groups.has_number(number):
            return False
        self.groups.add(self.groups.by_number(number), self.records.read_rank(slot) >> PRIORITY_SHIFT)
        self.grew(length)
        return True

    def grew(self, length: int) -> None:
        """A chain has `length` entries, one more than before."""
        self.lengths[length - 1] -= 1
        self.lengths[length] += 1
        self._longest = max(self._longest, length)

    def _priority(self, key: EntryKey) -> int:
        if self.table.has_priority:
            return key.priority
        return sum(key.matches[number][1] for number in self._lpm)  # type: ignore[misc]

    def _bucket(self, number: int, masks: Words, words: Words) -> int:
        if self.layout.ranged:
            words = tuple([word & mask for word, mask in zip(words, masks, strict=True)])
        return self.layout.buckets // 4 + (hash_words(number, words) >> self.layout.bucket_shift)

    def _is(self, slot: int, number: int, words: Words, highs: Words) -> bool:
        records = self.records
        return (
            self._arena.u32[records.group.start + slot * records.group.step] == number
            and records.key_words(slot) == words
            and (not self.layout.ranged or tuple(records.high_words(slot)) == highs)
        )

    def locate(self, key: EntryKey) -> tuple[int, int]:
        """See LiveTable."""
        masks, words, highs = self.split(key.matches)
        group, priority, u32 = self.groups.get(masks), self._priority(key), self._arena.u32
        if group is None:
            return 0, 0
        at = self._bucket(group.number, masks, words)
        while slot := u32[at]:
            if self.records.read_rank(slot) >> PRIORITY_SHIFT == priority and self._is(
                slot, group.number, words, highs
            ):
                break
            at = self.next_of(slot)
        return at, slot

    def unlinked(self, key: EntryKey) -> None:
        """See LiveTable."""
        masks, words, _ = self.split(key.matches)
        group = self.groups.get(masks)
        assert group is not None, "it had the entry"
        self.groups.remove(group, self._priority(key))
        at, length = self._bucket(group.number, masks, words), 0
        while slot := self._arena.u32[at]:
            at = self.next_of(slot)
            length += 1
        self.lengths[length + 1] -= 1
        self.lengths[length] += 1

    def key_of(self, row: Row) -> EntryKey:
        """See LiveTable."""
        masks = self.groups.by_number(row.group).masks
        matches = self.matches(masks, row.words, self.records.highs(row))
        return EntryKey(matches, row.rank >> PRIORITY_SHIFT if self.table.has_priority else 0)

    def group_of(self, slot: int) -> int:
        """The number of an entry's mask group."""
        return self._arena.u32[self.records.group.start + slot * self.records.group.step]

    def flush(self) -> None:
        """See Engine."""
        self.groups.flush()
        self.slots.tidy()
