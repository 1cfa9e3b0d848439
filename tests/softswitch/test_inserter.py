# SPDX-License-Identifier: Apache-2.0
"""Many insertions at once are the same as one after another."""

from __future__ import annotations

from hvchannel_softswitch.engine import ActionCall, EntryExists, EntryKey, Exact, Lpm, TableFull
from hvchannel_softswitch.interpreter.inserter import TableInserter
from hvchannel_softswitch.interpreter.tables import LiveTable
from hvchannel_softswitch.model import Action, MatchKind, Param, Table, TableKey
from hvchannel_softswitch.model.expressions import Const
from hvchannel_softswitch.model.program import NextByAction
from hypothesis import given
from hypothesis import strategies as st

SIZE = 12
_values = st.integers(0, 15)


def _table(kind: MatchKind, *, support_timeout: bool) -> LiveTable:
    answer = Action("answer", 1, (Param("value", 32),), ())
    keys = (TableKey("a", 8, MatchKind.EXACT, Const(0)), TableKey("b", 8, kind, Const(0)))
    table = Table("t", 1, keys, (answer,), SIZE, ActionCall("answer", (0,)), False, (), None, None, support_timeout,
                  None, None, False, NextByAction({1: None}))  # fmt: skip
    return LiveTable(table)


def _content(live: LiveTable) -> list[tuple[object, ...]]:
    entries = [(key, e.args, e.action, e.serial, e.hit) for key, e in live.by_key.items()]
    found = [live.find((a, b << 4)) for a in range(16) for b in range(16)]
    return [*entries, *[entry and entry.key for entry in found]]


@given(
    st.sampled_from([MatchKind.EXACT, MatchKind.LPM]),
    st.booleans(),
    st.lists(st.lists(st.tuples(_values, _values), max_size=8), max_size=4),
)
def test_many_are_as_good_as_one_after_another(kind, support_timeout, batches):
    one, many = (_table(kind, support_timeout=support_timeout) for _ in range(2))
    insert_one, insert_many = (TableInserter(live, "answer", lambda: 77) for live in (one, many))
    for batch in batches:
        last = [Exact(b << 4) if kind is MatchKind.EXACT else Lpm(b << 4, 4) for _, b in batch]
        keys = [EntryKey((Exact(a), match)) for (a, _), match in zip(batch, last, strict=True)]
        args = [(number,) for number, _ in enumerate(batch)]
        inserted = 0
        try:
            for key, values in zip(keys, args, strict=True):
                insert_one(key, values)
                inserted += 1
        except (EntryExists, TableFull):
            pass
        assert insert_many.many(keys, args) == inserted
        assert _content(many) == _content(one)
