# SPDX-License-Identifier: Apache-2.0
"""Tables at run time: the entries, and an index over them that suits the match kinds of the keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Protocol, TypeAlias

from hvchannel_softswitch.engine import (
    Action,
    ActionCall,
    EntryKey,
    Exact,
    Lpm,
    Match,
    Optional,
    Range,
    Ternary,
)
from hvchannel_softswitch.entry_checks import check_direct_action, prefix_mask
from hvchannel_softswitch.interpreter.meters import TwoRateMeter
from hvchannel_softswitch.model import MatchKind, Table

if TYPE_CHECKING:
    from hvchannel_softswitch.interpreter.profiles import Target

Values: TypeAlias = tuple[int, ...]
"""The values of a packet's keys, in the order of the table's keys."""


class LiveEntry:
    """An entry as packets see it: `action` is the action's place in the table's list, `args` its arguments; in
    a table with an action profile, `target` is the member or group that has the action. `hit` (its last packet,
    or its insertion) and `timeout` are nanoseconds, kept where the table supports timeouts."""

    __slots__ = (
        "action",
        "args",
        "bytes",
        "hit",
        "is_const",
        "key",
        "meter",
        "notified",
        "packets",
        "priority",
        "serial",
        "target",
        "timeout",
    )

    def __init__(
        self, key: EntryKey | None, serial: int, action: int = 0, args: Values = (), *, is_const: bool = False
    ) -> None:
        self.key = key
        self.priority = key.priority if key else 0
        self.action = action
        self.args = args
        self.target: Target | None = None
        self.hit = self.notified = self.timeout = 0
        self.serial = serial
        self.is_const = is_const
        self.packets = 0
        self.bytes = 0
        self.meter: TwoRateMeter | None = None

    def beats(self, other: LiveEntry | None) -> bool:
        """Whether this one wins where both match: by priority, and among equals the older one."""
        return other is None or (self.priority, -self.serial) > (other.priority, -other.serial)


class Index(Protocol):
    """Finds entries by the values of a packet."""

    @property
    def find(self) -> Callable[[Values], LiveEntry | None]:
        """The entry that wins for these values, or None; the same function for as long as the index lives."""

    def add(self, entry: LiveEntry) -> None:
        """Takes an entry in."""

    def add_all(self, entries: Sequence[LiveEntry]) -> None:
        """Takes entries in, in their order."""

    def remove(self, entry: LiveEntry) -> None:
        """Takes an entry out; it is there."""


class ExactIndex:
    """One look-up in one dictionary."""

    def __init__(self) -> None:
        self._entries: dict[Values, LiveEntry] = {}
        self.find: Callable[[Values], LiveEntry | None] = self._entries.get

    def add(self, entry: LiveEntry) -> None:
        """See Index."""
        self._entries[_values(entry)] = entry

    def add_all(self, entries: Sequence[LiveEntry]) -> None:
        """See Index."""
        self._entries.update(zip(map(_values, entries), entries, strict=True))

    def remove(self, entry: LiveEntry) -> None:
        """See Index."""
        del self._entries[_values(entry)]


class LpmIndex:
    """A dictionary per prefix length, the longest first; the other keys are exact."""

    def __init__(self, lpm_key: int, width: int) -> None:
        self._lpm_key = lpm_key
        self._width = width
        self._by_length: dict[int, dict[Values, LiveEntry]] = {}
        self._groups: list[tuple[int, dict[Values, LiveEntry]]] = []

    def find(self, values: Values) -> LiveEntry | None:
        """See Index."""
        place = self._lpm_key
        before, value, after = values[:place], values[place], values[place + 1 :]
        for mask, entries in self._groups:
            entry = entries.get((*before, value & mask, *after))
            if entry is not None:
                return entry
        return None

    def add(self, entry: LiveEntry) -> None:
        """See Index."""
        self._by_length.setdefault(self._length(entry), {})[_values(entry)] = entry
        self._regroup()

    def add_all(self, entries: Sequence[LiveEntry]) -> None:
        """See Index."""
        for entry in entries:
            self.add(entry)

    def remove(self, entry: LiveEntry) -> None:
        """See Index."""
        length = self._length(entry)
        del self._by_length[length][_values(entry)]
        if not self._by_length[length]:
            del self._by_length[length]
            self._regroup()

    def _length(self, entry: LiveEntry) -> int:
        assert entry.key is not None
        match = entry.key.matches[self._lpm_key]
        assert isinstance(match, Lpm)
        return match.prefix_len

    def _regroup(self) -> None:
        if len(self._groups) != len(self._by_length):
            lengths = sorted(self._by_length, reverse=True)
            self._groups = [(prefix_mask(n, self._width), self._by_length[n]) for n in lengths]


class _MaskGroup:
    """The entries that look at the same bits; of those with the same values, the winner first."""

    __slots__ = ("by_values", "masks", "top")

    def __init__(self, masks: Values) -> None:
        self.masks = masks
        self.by_values: dict[Values, list[LiveEntry]] = {}
        self.top = 0

    def settle(self) -> None:
        """Recomputes the highest priority in the group."""
        self.top = max((entries[0].priority for entries in self.by_values.values()), default=0)


class TernaryIndex:
    """A dictionary per set of masks, those with the highest priorities first (tuple space search)."""

    def __init__(self, widths: Values) -> None:
        self._widths = widths
        self._groups: list[_MaskGroup] = []
        self._by_masks: dict[Values, _MaskGroup] = {}

    def find(self, values: Values) -> LiveEntry | None:
        """See Index."""
        best: LiveEntry | None = None
        for group in self._groups:
            if best is not None and group.top < best.priority:
                break
            found = group.by_values.get(tuple([v & m for v, m in zip(values, group.masks, strict=True)]))
            if found is not None and found[0].beats(best):
                best = found[0]
        return best

    def add(self, entry: LiveEntry) -> None:
        """See Index."""
        values, masks = self._masked(entry)
        group = self._by_masks.get(masks)
        if group is None:
            group = self._by_masks[masks] = _MaskGroup(masks)
            self._groups.append(group)
        same = group.by_values.setdefault(values, [])
        same.append(entry)
        same.sort(key=lambda e: (-e.priority, e.serial))
        group.top = max(group.top, entry.priority)
        self._groups.sort(key=attrgetter("top"), reverse=True)

    def add_all(self, entries: Sequence[LiveEntry]) -> None:
        """See Index."""
        for entry in entries:
            self.add(entry)

    def remove(self, entry: LiveEntry) -> None:
        """See Index."""
        values, masks = self._masked(entry)
        group = self._by_masks[masks]
        group.by_values[values].remove(entry)
        if not group.by_values[values]:
            del group.by_values[values]
        if not group.by_values:
            del self._by_masks[masks]
            self._groups.remove(group)
        elif entry.priority == group.top:
            group.settle()
            self._groups.sort(key=attrgetter("top"), reverse=True)

    def _masked(self, entry: LiveEntry) -> tuple[Values, Values]:
        assert entry.key is not None
        pairs = [value_and_mask(m, w) for m, w in zip(entry.key.matches, self._widths, strict=True)]
        return tuple(value for value, _ in pairs), tuple(mask for _, mask in pairs)


class RangeIndex:
    """A list in the order of priority, scanned: ranges have no look-up that is both simple and quick."""

    def __init__(self, widths: Values) -> None:
        self._widths = widths
        self._rows: list[tuple[LiveEntry, tuple[tuple[int, int, int], ...]]] = []

    def find(self, values: Values) -> LiveEntry | None:
        """See Index."""
        for entry, bounds in self._rows:
            for value, (mask, low, high) in zip(values, bounds, strict=True):
                if not low <= value & mask <= high:
                    break
            else:
                return entry
        return None

    def add(self, entry: LiveEntry) -> None:
        """See Index."""
        assert entry.key is not None
        row = tuple(bounds(m, w) for m, w in zip(entry.key.matches, self._widths, strict=True))
        self._rows.append((entry, row))
        self._rows.sort(key=lambda row: (-row[0].priority, row[0].serial))

    def add_all(self, entries: Sequence[LiveEntry]) -> None:
        """See Index."""
        for entry in entries:
            self.add(entry)

    def remove(self, entry: LiveEntry) -> None:
        """See Index."""
        self._rows = [row for row in self._rows if row[0] is not entry]


def value_and_mask(match: Match, width: int) -> tuple[int, int]:
    """Any match but a range, as a ternary one."""
    match match:
        case Exact(value=value) | Optional(value=int(value)):
            return value, (1 << width) - 1
        case Lpm(value=value, prefix_len=length):
            return value, prefix_mask(length, width)
        case Ternary(value=value, mask=mask):
            return value, mask
        case Optional():
            return 0, 0
        case Range():
            raise AssertionError("a range is no mask")


def bounds(match: Match, width: int) -> tuple[int, int, int]:
    """Any match as (mask, low, high): it holds where `low <= value & mask <= high`."""
    if isinstance(match, Range):
        return (1 << width) - 1, match.low, match.high
    value, mask = value_and_mask(match, width)
    return mask, value, value


def _values(entry: LiveEntry) -> Values:
    assert entry.key is not None
    # The value of an exact or lpm match is the first of its numbers; this way is the quickest to read it.
    return tuple([match[0] for match in entry.key.matches])  # type: ignore[misc]


class LiveTable:
    """A table with its entries. `find` takes the keys' values and gives the entry that wins, or None;
    `default` is what a miss runs."""

    __slots__ = ("actions", "by_key", "default", "find", "index", "own_default", "serial", "table")

    def __init__(self, table: Table) -> None:
        self.table = table
        self.actions = {action.name: number for number, action in enumerate(table.actions)}
        self.by_key: dict[EntryKey, LiveEntry] = {}
        self.index = _index_for(table)
        self.find = self.index.find
        self.serial = 0
        self.own_default = self.default = self.default_for(table.default_action)
        for entry in table.entries:
            self.insert(entry.key, entry.action, is_const=entry.is_const)

    def check(self, action: Action) -> None:
        """Raises EngineError, naming what an entry of this table can hold."""
        check_direct_action(self.table, action)

    def default_for(self, action: Action) -> LiveEntry:
        """An entry to serve as default."""
        entry = LiveEntry(None, 0)
        self.bind(entry, action)
        return entry

    def bind(self, entry: LiveEntry, action: Action) -> None:
        """Gives an entry its action, one that `check` lets through."""
        assert isinstance(action, ActionCall)
        entry.action, entry.args = self.actions[action.name], action.args

    def release(self, entry: LiveEntry) -> None:
        """The entry is no more."""

    def action_of(self, entry: LiveEntry) -> Action:
        """The entry's action as the control plane says it."""
        return ActionCall(self.table.actions[entry.action].name, entry.args)

    def insert(self, key: EntryKey, action: Action, *, is_const: bool = False) -> LiveEntry:
        """The key is not there yet."""
        self.serial += 1
        entry = LiveEntry(key, self.serial, is_const=is_const)
        self.bind(entry, action)
        self.by_key[key] = entry
        self.index.add(entry)
        return entry

    def delete(self, key: EntryKey) -> None:
        """The key is there."""
        entry = self.by_key.pop(key)
        self.index.remove(entry)
        self.release(entry)


def _index_for(table: Table) -> Index:
    kinds = [key.kind for key in table.keys]
    widths = tuple(key.width for key in table.keys)
    if MatchKind.RANGE in kinds:
        return RangeIndex(widths)
    if MatchKind.TERNARY in kinds or MatchKind.OPTIONAL in kinds:
        return TernaryIndex(widths)
    if MatchKind.LPM in kinds:
        place = kinds.index(MatchKind.LPM)
        return LpmIndex(place, widths[place])
    return ExactIndex()
