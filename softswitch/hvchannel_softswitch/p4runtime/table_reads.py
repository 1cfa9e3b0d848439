# SPDX-License-Identifier: Apache-2.0
"""Reads of TableEntry (sections "Wildcard Reads" and "Direct Resources" of TableEntry)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from finsy.proto import p4r

from hvchannel_softswitch.engine import ActionCall, Entry, EntryKey
from hvchannel_softswitch.p4runtime.actions import encode_table_action
from hvchannel_softswitch.p4runtime.counters_meters import encode_counter_data, encode_meter_config
from hvchannel_softswitch.p4runtime.errors import Code, P4RuntimeError, invalid
from hvchannel_softswitch.p4runtime.indirect_tables import encode_reference
from hvchannel_softswitch.p4runtime.matches import decode_key, encode_key
from hvchannel_softswitch.p4runtime.p4info import Table
from hvchannel_softswitch.p4runtime.pipeline import Pipeline
from hvchannel_softswitch.p4runtime.table_entries import check_direct_resources, no_idle_timeout


def read_table_entries(pipeline: Pipeline, wanted: p4r.TableEntry) -> Iterator[p4r.TableEntry]:
    """The entries a request selects (section "Wildcard Reads" of TableEntry)."""
    if wanted.table_id == 0:
        if (
            wanted.match
            or wanted.priority
            or wanted.metadata
            or wanted.controller_metadata
            or wanted.HasField("action")
        ):
            raise invalid("a read of all tables (table ID 0) takes no filter but is_default_action")
        tables = list(pipeline.program.tables.values())
    else:
        tables = [pipeline.program.table(wanted.table_id)]
        check_direct_resources(tables[0], wanted)
    if wanted.HasField("meter_counter_data"):
        raise P4RuntimeError(
            Code.UNIMPLEMENTED, "this switch keeps no counters per meter colour (meter_counter_data)"
        )
    if wanted.HasField("time_since_last_hit"):
        if wanted.is_default_action:
            raise invalid(
                "a default entry does not support idle timeout, so time_since_last_hit must be unset"
            )
        if wanted.table_id and not tables[0].has_idle_timeout:
            raise no_idle_timeout(tables[0])
    for table in tables:
        if wanted.is_default_action:
            yield _default_entry(pipeline, table, wanted)
        else:
            yield from _entries(pipeline, table, wanted)


def _default_entry(pipeline: Pipeline, table: Table, wanted: p4r.TableEntry) -> p4r.TableEntry:
    if wanted.match or wanted.priority:
        raise invalid(f"the default entry of table {table.name!r} takes neither match nor priority")
    entry = p4r.TableEntry(table_id=table.id, is_default_action=True, is_const=_has_const_default(table))
    default = pipeline.engine.default_action(table.full_name)
    action = encode_table_action(table, default) if isinstance(default, ActionCall) else None
    if action is not None:
        entry.action.CopyFrom(action)
    _add_cookies(pipeline, table, None, entry)
    return entry


def _entries(pipeline: Pipeline, table: Table, wanted: p4r.TableEntry) -> Iterator[p4r.TableEntry]:
    key: EntryKey | None = None
    if wanted.match:
        # Without a priority the match alone selects: decode it with one that is always acceptable, then
        # compare matches.
        key = decode_key(table, wanted.match, wanted.priority or (1 if table.needs_priority else 0))
    for entry in _candidates(pipeline, table, key, wanted):
        if key is not None and entry.key.matches != key.matches:
            continue
        if wanted.priority and entry.key.priority != wanted.priority:
            continue
        message = encode_entry(pipeline, table, entry, wanted)
        if _is_wanted(message, wanted):
            yield message


def _candidates(
    pipeline: Pipeline, table: Table, key: EntryKey | None, wanted: p4r.TableEntry
) -> Iterable[Entry]:
    """The one entry with the key, where the request names a whole key; else all of the table's."""
    if key is None or (table.needs_priority and not wanted.priority):
        return pipeline.engine.entries(table.full_name)
    entry = pipeline.engine.entry(table.full_name, key)
    return () if entry is None else (entry,)


def _has_const_default(table: Table) -> bool:
    """Section "Default Entry": an indirect table's is always const, and NoAction."""
    return table.const_default or table.profile is not None


def _is_wanted(message: p4r.TableEntry, wanted: p4r.TableEntry) -> bool:
    if wanted.HasField("action") and not _is_same_action(message.action, wanted.action):
        return False
    if wanted.controller_metadata and message.controller_metadata != wanted.controller_metadata:
        return False
    return not wanted.metadata or message.metadata == wanted.metadata


def _is_same_action(action: p4r.TableAction, wanted: p4r.TableAction) -> bool:
    """Of an action only the id counts."""
    if action.HasField("action") or wanted.HasField("action"):
        return bool(action.action.action_id == wanted.action.action_id)
    return bool(action == wanted)


def encode_entry(pipeline: Pipeline, table: Table, entry: Entry, wanted: p4r.TableEntry) -> p4r.TableEntry:
    """The entry, with its counter, meter and idle time where `wanted` has these fields set."""
    message = p4r.TableEntry(
        table_id=table.id,
        match=encode_key(table, entry.key),
        action=_action(pipeline, table, entry),
        priority=entry.key.priority,
        is_const=entry.is_const,
    )
    if table.has_idle_timeout:
        message.idle_timeout_ns = pipeline.engine.idle_timeout(table.full_name, entry.key)
        if wanted.HasField("time_since_last_hit"):
            elapsed = pipeline.engine.time_since_last_hit(table.full_name, entry.key)
            message.time_since_last_hit.elapsed_ns = elapsed
    if wanted.HasField("counter_data") and table.direct_counter is not None:
        data = pipeline.engine.read_direct_counter(table.full_name, entry.key)
        message.counter_data.CopyFrom(encode_counter_data(data))
    if wanted.HasField("meter_config") and table.direct_meter is not None:
        config = pipeline.engine.read_direct_meter(table.full_name, entry.key)
        if config is not None:
            message.meter_config.CopyFrom(encode_meter_config(config))
    _add_cookies(pipeline, table, entry.key, message)
    return message


def _action(pipeline: Pipeline, table: Table, entry: Entry) -> p4r.TableAction | None:
    if isinstance(entry.action, ActionCall):
        return encode_table_action(table, entry.action)
    return encode_reference(pipeline, table, entry.key, entry.action)


def _add_cookies(pipeline: Pipeline, table: Table, key: EntryKey | None, message: p4r.TableEntry) -> None:
    cookies = pipeline.cookies_of(table.id, key)
    message.controller_metadata, message.metadata = cookies.controller_metadata, cookies.metadata
