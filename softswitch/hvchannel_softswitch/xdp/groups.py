# SPDX-License-Identifier: Apache-2.0
"""The mask groups of one table, and the two lists that tell packets of them.

A look-up goes through the groups of the list in force, those with the highest priorities first, and looks for its
key, as each group's masks leave it. A change goes to the list not in force, which then comes into force with one
store.
"""

from __future__ import annotations

from collections.abc import Iterator

from hvchannel_softswitch.xdp.arena import Arena, ArenaError
from hvchannel_softswitch.xdp.fields import Words
from hvchannel_softswitch.xdp.grace import Grace
from hvchannel_softswitch.xdp.layout import GROUPS, HEADER_GROUPS, TableLayout
from hvchannel_softswitch.xdp.records import LAST_SERIAL, PRIORITY_SHIFT

_NEVER = -1
_LAST_NUMBER = (1 << 32) - 1


class MaskGroup:
    """The entries that look at the same bits. `priorities` counts them by priority."""

    __slots__ = ("count", "masks", "number", "priorities")

    def __init__(self, number: int, masks: Words) -> None:
        self.number = number
        self.masks = masks
        self.count = 0
        self.priorities: dict[int, int] = {}

    def add(self, priority: int) -> None:
        """One entry more."""
        self.count += 1
        self.priorities[priority] = self.priorities.get(priority, 0) + 1

    def remove(self, priority: int) -> None:
        """One entry less."""
        self.count -= 1
        self.priorities[priority] -= 1
        if not self.priorities[priority]:
            del self.priorities[priority]

    @property
    def top(self) -> int:
        """No entry has a larger rank. Serials are left out of it, so that a new entry seldom changes it."""
        return max(self.priorities, default=0) << PRIORITY_SHIFT | LAST_SERIAL


class MaskGroups:
    """The groups of one table, with and without entries; those with entries are in force after `flush`."""

    def __init__(self, arena: Arena, layout: TableLayout, grace: Grace) -> None:
        self._arena = arena
        self._layout = layout
        self._grace = grace
        self._word = (layout.header + HEADER_GROUPS) // 4
        self._by_masks: dict[Words, MaskGroup] = {}
        self._by_number: dict[int, MaskGroup] = {}
        self._last_number = 0
        self._listed: list[tuple[Words, int, int]] = []
        self._in_force = 0
        self._left_force = [_NEVER, _NEVER]
        """For each list, the grace generation in which it was last in force."""
        self._changed = self._urgent = False
        self.used = 0
        """Groups with entries."""

    @property
    def listed(self) -> int:
        """Groups that a look-up visits now."""
        return len(self._listed)

    def get(self, masks: Words) -> MaskGroup | None:
        """The group of these masks, if there is one."""
        return self._by_masks.get(masks)

    def has_number(self, number: int) -> bool:
        """Whether there is a group of this number."""
        return number in self._by_number

    def by_number(self, number: int) -> MaskGroup:
        """Raises KeyError."""
        return self._by_number[number]

    def make(self, masks: Words) -> MaskGroup:
        """A new group, without entries so far."""
        self._last_number = self.next_number
        return self._keep(MaskGroup(self._last_number, masks))

    @property
    def next_number(self) -> int:
        """That of the group made next."""
        number = self._last_number % _LAST_NUMBER + 1
        while number in self._by_number:
            number = number % _LAST_NUMBER + 1
        return number

    def _keep(self, group: MaskGroup) -> MaskGroup:
        self._by_masks[group.masks] = self._by_number[group.number] = group
        return group

    def add(self, group: MaskGroup, priority: int) -> None:
        """One of its entries is there."""
        if not group.count:
            self.used += 1
        if priority not in group.priorities and priority > max(group.priorities, default=-1):
            self._urgent = True
        group.add(priority)

    def remove(self, group: MaskGroup, priority: int) -> None:
        """One of its entries is gone."""
        group.remove(priority)
        if not group.count:
            self.used -= 1
        if priority > max(group.priorities, default=-1):
            self._changed = True

    def flush(self) -> None:
        """Brings the groups as they are into force. Groups that packets may look at longer than they need to are left
        to a later call where that saves a grace period."""
        spare = 1 - self._in_force
        if not self._urgent and not (self._changed and self._left_force[spare] != self._grace.generation):
            return
        self._changed = self._urgent = False
        for group in [group for group in self._by_masks.values() if not group.count]:
            del self._by_masks[group.masks], self._by_number[group.number]
        listed = sorted(
            ((group.masks, group.top, group.number) for group in self._by_masks.values()),
            key=lambda row: (-row[1], row[2]),
        )
        if listed == self._listed:
            return
        self._grace.wait_beyond(self._left_force[spare])
        self._write(spare, listed)
        self._arena.u32[self._word] = len(listed) << 1 | spare
        self._left_force[self._in_force] = self._grace.generation
        self._in_force, self._listed = spare, listed

    def tidy(self) -> bool:
        """As flush, and takes groups without entries out of the list too, whatever it costs. Whether there were any."""
        before = self.listed
        self._urgent = self._urgent or self._changed
        self.flush()
        return self.listed < before

    def _write(self, which: int, listed: list[tuple[Words, int, int]]) -> None:
        u64 = self._arena.u64
        at = self._layout.group_list(which) // 8
        for masks, top, number in listed:
            for word in (*masks, top, number):
                u64[at] = word
                at += 1

    def adopt(self) -> None:
        """The groups of the list in force, still without entries. Raises ArenaError."""
        word = self._arena.u32[self._word]
        count, self._in_force = word >> 1, word & 1
        if count > GROUPS:
            raise ArenaError(
                f"table {self._layout.table.name!r} has {count} mask groups, of {GROUPS} at most"
            )
        self._listed = list(self._read(self._in_force, count))
        for masks, _, number in self._listed:
            self._last_number = max(self._last_number, number)
            self._keep(MaskGroup(number, masks))
        self._left_force[1 - self._in_force] = self._grace.generation
        self._changed = True

    def _read(self, which: int, count: int) -> Iterator[tuple[Words, int, int]]:
        words, stride = self._layout.key.words, self._layout.group_stride
        for place in range(count):
            row = self._arena.words(self._layout.group_list(which) + place * stride, words + 2)
            yield tuple(row[:words]), row[words], row[words + 1]
