# SPDX-License-Identifier: Apache-2.0
"""The inverse of an update, made before the update is applied: it puts back what the update's entity was then, as
a client would write it.

What the data path itself changes meanwhile (a meter's buckets, the time since a hit) starts anew where an entry had
to be put back.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import TypeAlias

from finsy.proto import p4r

from hvchannel_softswitch.engine import EntryKey
from hvchannel_softswitch.p4runtime.matches import decode_key
from hvchannel_softswitch.p4runtime.p4info import Table
from hvchannel_softswitch.p4runtime.pipeline import Pipeline
from hvchannel_softswitch.p4runtime.table_reads import encode_entry, read_table_entries
from hvchannel_softswitch.p4runtime.updates import apply_update, read_entities

Undo: TypeAlias = Callable[[], None]

_ALWAYS_THERE = ("counter_entry", "meter_entry", "register_entry", "value_set_entry")


def undo_of(pipeline: Pipeline, update: p4r.Update) -> Undo:
    """Raises P4RuntimeError for an update that cannot be read; it will be refused."""
    kind, entity = update.entity.WhichOneof("entity"), update.entity
    match kind:
        case "table_entry":
            return _undo_entry(pipeline, entity.table_entry)
        case "direct_counter_entry":
            return _undo_entry(pipeline, entity.direct_counter_entry.table_entry)
        case "direct_meter_entry":
            return _undo_entry(pipeline, entity.direct_meter_entry.table_entry)
    wanted = p4r.Entity()
    wanted.CopyFrom(entity)
    before = read_entities(pipeline, wanted)
    if kind in _ALWAYS_THERE:
        return lambda: _write_all(pipeline, p4r.Update.MODIFY, before)
    return lambda: _put_back(pipeline, wanted, before, read_entities(pipeline, wanted))


def _write_all(pipeline: Pipeline, kind: p4r.Update.Type.ValueType, entities: list[p4r.Entity]) -> None:
    for entity in entities:
        apply_update(pipeline, p4r.Update(type=kind, entity=entity))


def _put_back(
    pipeline: Pipeline, wanted: p4r.Entity, before: list[p4r.Entity], now: list[p4r.Entity]
) -> None:
    """Of what is inserted and deleted by an id of its own."""
    if not before:
        _write_all(pipeline, p4r.Update.DELETE, [wanted] if now else [])
    else:
        _write_all(pipeline, p4r.Update.MODIFY if now else p4r.Update.INSERT, before)


def _undo_entry(pipeline: Pipeline, message: p4r.TableEntry) -> Undo:
    table = pipeline.program.table(message.table_id)
    if message.is_default_action:
        return _undo_default(pipeline, table)
    key = decode_key(table, message.match, message.priority)
    before = _state(pipeline, table, key)

    def undo() -> None:
        now = _state(pipeline, table, key)
        if before is not None:
            _write(pipeline, p4r.Update.INSERT if now is None else p4r.Update.MODIFY, before)
        elif now is not None:
            _write(pipeline, p4r.Update.DELETE, now)

    return undo


def _undo_default(pipeline: Pipeline, table: Table) -> Undo:
    default = p4r.TableEntry(table_id=table.id, is_default_action=True)
    if table.id in pipeline.set_defaults:
        (default,) = read_table_entries(pipeline, default)
        default.is_const = False
    return lambda: _write(pipeline, p4r.Update.MODIFY, default)


def _state(pipeline: Pipeline, table: Table, key: EntryKey) -> p4r.TableEntry | None:
    """All there is to an entry, as a client would write it; None for one that is not there."""
    entry = pipeline.engine.entry(table.full_name, key)
    if entry is None:
        return None
    wanted = p4r.TableEntry(counter_data=p4r.CounterData(), meter_config=p4r.MeterConfig())
    state = encode_entry(pipeline, table, entry, wanted)
    if entry.is_const:
        state.is_const = False
        state.ClearField("action")
    return state


def _write(pipeline: Pipeline, kind: p4r.Update.Type.ValueType, entry: p4r.TableEntry) -> None:
    apply_update(pipeline, p4r.Update(type=kind, entity=p4r.Entity(table_entry=entry)))


class TableOrder:
    """The order of entries in the tables that a batch deletes from. Reads show it, and of two entries that match
    with the same priority the older one wins."""

    def __init__(self, pipeline: Pipeline, updates: Iterable[p4r.Update]) -> None:
        """Before the batch."""
        self._pipeline = pipeline
        deletions = [update for update in updates if update.type == p4r.Update.DELETE]
        numbers = {update.entity.table_entry.table_id for update in deletions}
        tables = [pipeline.program.tables[number] for number in numbers if number in pipeline.program.tables]
        self._keys = [(table, self._now(table)) for table in tables]

    def restore(self) -> None:
        """The entries are those remembered; puts them in the order of then."""
        for table, keys in self._keys:
            moved = itertools.dropwhile(
                lambda pair: pair[0] == pair[1], zip(keys, self._now(table), strict=True)
            )
            for key, _ in moved:
                state = _state(self._pipeline, table, key)
                assert state is not None, "all entries are back"
                _write(self._pipeline, p4r.Update.DELETE, state)
                _write(self._pipeline, p4r.Update.INSERT, state)

    def _now(self, table: Table) -> list[EntryKey]:
        return [entry.key for entry in self._pipeline.engine.entries(table.full_name)]
