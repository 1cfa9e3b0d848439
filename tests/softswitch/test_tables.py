# SPDX-License-Identifier: Apache-2.0
"""Every index finds what a scan over all entries would, through inserts and deletes."""

from __future__ import annotations

from collections.abc import Iterable

from hvchannel_softswitch.engine import ActionCall, EntryKey, Exact, Lpm, Match, Optional, Range, Ternary
from hvchannel_softswitch.interpreter.tables import LiveTable, prefix_mask
from hvchannel_softswitch.model import Action, MatchKind, Param, Table, TableKey
from hvchannel_softswitch.model.expressions import Const
from hvchannel_softswitch.model.program import NextByAction
from hypothesis import given, settings
from hypothesis import strategies as st

WIDTH = 6  # small, so that random entries and packets meet
FULL = 2**WIDTH - 1
bits = st.integers(0, FULL)


def match_of(kind: MatchKind) -> st.SearchStrategy[Match]:
    """Valid matches of a kind."""
    match kind:
        case MatchKind.EXACT:
            return st.builds(Exact, bits)
        case MatchKind.LPM:
            return st.builds(lambda v, n: Lpm(v & prefix_mask(n, WIDTH), n), bits, st.integers(0, WIDTH))
        case MatchKind.TERNARY:
            return st.builds(lambda v, m: Ternary(v & m, m), bits, bits | st.just(0))
        case MatchKind.RANGE:
            return st.builds(lambda a, b: Range(min(a, b), max(a, b)), bits, bits)
        case MatchKind.OPTIONAL:
            return st.builds(Optional, bits | st.none())


def table_of(kinds: Iterable[MatchKind]) -> Table:
    answer = Action("answer", 1, (Param("value", 32),), ())
    keys = tuple(TableKey(f"k{i}", WIDTH, kind, Const(0)) for i, kind in enumerate(kinds))
    return Table("t", 1, keys, (answer,), 9999, ActionCall("answer", (0,)), False, (), None, None, False, None,
                 None, False, NextByAction({1: None}))  # fmt: skip


def matches(match: Match, value: int) -> bool:
    match match:
        case Exact(value=wanted):
            return value == wanted
        case Lpm(value=wanted, prefix_len=length):
            return value >> (WIDTH - length) == wanted >> (WIDTH - length)
        case Ternary(value=wanted, mask=mask):
            return value & mask == wanted
        case Range(low=low, high=high):
            return low <= value <= high
        case Optional(value=maybe):
            return maybe is None or value == maybe


def rank(key: EntryKey, age: int) -> tuple[int, int, int]:
    """Who wins: priority, then the longest prefix (where there is no priority), then age."""
    prefix = sum(m.prefix_len for m in key.matches if isinstance(m, Lpm))
    return (key.priority, 0 if key.priority else prefix, -age)


TABLES = [
    [MatchKind.EXACT],
    [MatchKind.EXACT, MatchKind.EXACT],
    [MatchKind.LPM],
    [MatchKind.EXACT, MatchKind.LPM, MatchKind.EXACT],
    [MatchKind.TERNARY],
    [MatchKind.TERNARY, MatchKind.LPM, MatchKind.EXACT],
    [MatchKind.OPTIONAL, MatchKind.OPTIONAL],
    [MatchKind.RANGE],
    [MatchKind.RANGE, MatchKind.TERNARY, MatchKind.EXACT, MatchKind.OPTIONAL],
]


@settings(max_examples=250, deadline=None)
@given(data=st.data(), kinds=st.sampled_from(TABLES))
def test_find_agrees_with_a_scan(data: st.DataObject, kinds: list[MatchKind]) -> None:
    table = table_of(kinds)
    live = LiveTable(table)
    priorities = st.integers(1, 4) if table.has_priority else st.just(0)
    keys = st.builds(lambda ms, p: EntryKey(tuple(ms), p), st.tuples(*map(match_of, kinds)), priorities)
    ages: dict[EntryKey, int] = {}
    for age, key in enumerate(data.draw(st.lists(keys, max_size=30))):
        if key in live.by_key:
            live.delete(key)
            del ages[key]
        else:
            live.insert(key, ActionCall("answer", (age,)))
            ages[key] = age
    for values in data.draw(st.lists(st.tuples(*(bits for _ in kinds)), min_size=5, max_size=20)):
        hits = [k for k in ages if all(matches(m, v) for m, v in zip(k.matches, values, strict=True))]
        best = max(hits, key=lambda k: rank(k, ages[k]), default=None)
        found = live.find(values)
        assert (found.key if found else None) == best
