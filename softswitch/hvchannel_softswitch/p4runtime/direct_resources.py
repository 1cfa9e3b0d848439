# SPDX-License-Identifier: Apache-2.0
"""DirectCounterEntry and DirectMeterEntry: the counter and the meter that belong to a table entry."""

from __future__ import annotations

from collections.abc import Iterator

from finsy.proto import p4r

from hvchannel_softswitch.engine import EntryKey, NoSuchEntry
from hvchannel_softswitch.p4runtime.counters_meters import (
    decode_counter_data,
    decode_meter_config,
    encode_counter_data,
    encode_meter_config,
    no_colour_counters,
    only_modify,
)
from hvchannel_softswitch.p4runtime.errors import Code, P4RuntimeError, invalid, listing
from hvchannel_softswitch.p4runtime.matches import decode_key, encode_key
from hvchannel_softswitch.p4runtime.p4info import Table
from hvchannel_softswitch.p4runtime.pipeline import Pipeline
from hvchannel_softswitch.p4runtime.table_entries import find_entry, no_such_entry


def write_direct_counter(
    pipeline: Pipeline, kind: p4r.Update.Type.ValueType, message: p4r.DirectCounterEntry
) -> None:
    """Sets an entry's counter; without data nothing changes. Raises NOT_FOUND if the entry is not there."""
    table = _counter_table(pipeline, message.table_entry.table_id)
    only_modify(kind, f"the direct counter of table {table.name!r}")
    key = _key(table, message.table_entry)
    if not message.HasField("data"):
        if find_entry(pipeline, table, key) is None:
            raise no_such_entry(table, key)
        return
    try:
        pipeline.engine.write_direct_counter(table.full_name, key, decode_counter_data(message.data))
    except NoSuchEntry as error:
        raise no_such_entry(table, key) from error


def read_direct_counters(
    pipeline: Pipeline, wanted: p4r.DirectCounterEntry
) -> Iterator[p4r.DirectCounterEntry]:
    """The counter of one entry (NOT_FOUND if it is not there), of all entries of a table (no match), or of
    all tables."""
    entry = wanted.table_entry
    if entry.table_id:
        tables = [_counter_table(pipeline, entry.table_id)]
    else:
        tables = [table for table in pipeline.program.tables.values() if table.direct_counter is not None]
    for table in tables:
        for key in _keys(pipeline, table, entry):
            try:
                data = pipeline.engine.read_direct_counter(table.full_name, key)
            except NoSuchEntry as error:
                raise no_such_entry(table, key) from error
            yield p4r.DirectCounterEntry(table_entry=_key_message(table, key), data=encode_counter_data(data))


def write_direct_meter(
    pipeline: Pipeline, kind: p4r.Update.Type.ValueType, message: p4r.DirectMeterEntry
) -> None:
    """Configures an entry's meter; without a config back to always green. Raises NOT_FOUND if the entry is
    not there."""
    table = _meter_table(pipeline, message.table_entry.table_id)
    only_modify(kind, f"the direct meter of table {table.name!r}")
    no_colour_counters(message.HasField("counter_data"))
    key = _key(table, message.table_entry)
    config = decode_meter_config(table.direct_meter, message.config) if message.HasField("config") else None
    try:
        pipeline.engine.write_direct_meter(table.full_name, key, config)
    except NoSuchEntry as error:
        raise no_such_entry(table, key) from error


def read_direct_meters(pipeline: Pipeline, wanted: p4r.DirectMeterEntry) -> Iterator[p4r.DirectMeterEntry]:
    """As read_direct_counters; a default configuration is left unset."""
    no_colour_counters(wanted.HasField("counter_data"))
    entry = wanted.table_entry
    if entry.table_id:
        tables = [_meter_table(pipeline, entry.table_id)]
    else:
        tables = [table for table in pipeline.program.tables.values() if table.direct_meter is not None]
    for table in tables:
        for key in _keys(pipeline, table, entry):
            try:
                config = pipeline.engine.read_direct_meter(table.full_name, key)
            except NoSuchEntry as error:
                raise no_such_entry(table, key) from error
            encoded = encode_meter_config(config) if config is not None else None
            yield p4r.DirectMeterEntry(table_entry=_key_message(table, key), config=encoded)


def _counter_table(pipeline: Pipeline, table_id: int) -> Table:
    table = pipeline.program.table(table_id)
    if table.direct_counter is None:
        having = [repr(t.name) for t in pipeline.program.tables.values() if t.direct_counter is not None]
        raise invalid(f"table {table.name!r} has no direct counter (tables that have one: {listing(having)})")
    return table


def _meter_table(pipeline: Pipeline, table_id: int) -> Table:
    table = pipeline.program.table(table_id)
    if table.direct_meter is None:
        having = [repr(t.name) for t in pipeline.program.tables.values() if t.direct_meter is not None]
        raise invalid(f"table {table.name!r} has no direct meter (tables that have one: {listing(having)})")
    return table


def _key(table: Table, entry: p4r.TableEntry) -> EntryKey:
    if entry.is_default_action:
        raise P4RuntimeError(
            Code.UNIMPLEMENTED,
            f"table {table.name!r}: direct counters and meters belong to its entries, not its default",
        )
    return decode_key(table, entry.match, entry.priority)


def _keys(pipeline: Pipeline, table: Table, entry: p4r.TableEntry) -> list[EntryKey]:
    if entry.match or entry.is_default_action:
        return [_key(table, entry)]
    keys = [found.key for found in pipeline.engine.entries(table.full_name)]
    return [key for key in keys if entry.priority in (0, key.priority)]


def _key_message(table: Table, key: EntryKey) -> p4r.TableEntry:
    return p4r.TableEntry(table_id=table.id, match=encode_key(table, key), priority=key.priority)
