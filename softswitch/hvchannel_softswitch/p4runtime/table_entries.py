# SPDX-License-Identifier: Apache-2.0
"""Write and Read of TableEntry (section "TableEntry"), default entries and direct resources included."""

from __future__ import annotations

from collections.abc import Iterator

from finsy.proto import p4r

from hvchannel_softswitch.engine import Entry, EntryExists, EntryKey, NoSuchEntry, TableFull
from hvchannel_softswitch.p4runtime.actions import decode_action, encode_action
from hvchannel_softswitch.p4runtime.counters_meters import (
    decode_counter_data,
    decode_meter_config,
    encode_counter_data,
    encode_meter_config,
)
from hvchannel_softswitch.p4runtime.errors import Code, P4RuntimeError, invalid
from hvchannel_softswitch.p4runtime.matches import decode_key, describe_key, encode_key
from hvchannel_softswitch.p4runtime.p4info import Table
from hvchannel_softswitch.p4runtime.pipeline import Cookies, Pipeline


def write_table_entry(pipeline: Pipeline, kind: p4r.Update.Type.ValueType, message: p4r.TableEntry) -> None:
    """One update, applied whole or not at all. Raises P4RuntimeError with the spec's code."""
    table = pipeline.program.table(message.table_id)
    if message.is_default_action:
        _write_default(pipeline, table, kind, message)
        return
    if table.is_const and kind != p4r.Update.MODIFY:
        raise P4RuntimeError(
            Code.PERMISSION_DENIED,
            f"table {table.name!r} is const: its entries can be neither inserted nor deleted",
        )
    if not table.keys:
        raise invalid(
            f"table {table.name!r} has no keys, so it has only a default entry (valid: MODIFY of that)"
        )
    if kind != p4r.Update.DELETE:
        _check_writable(table, message)
    key = decode_key(table, message.match, message.priority)
    is_const = key in pipeline.const_keys.get(table.id, ())
    if kind == p4r.Update.INSERT:
        _insert(pipeline, table, key, message)
    elif kind == p4r.Update.MODIFY:
        _modify(pipeline, table, key, message, is_const=is_const)
    elif is_const:
        raise P4RuntimeError(
            Code.PERMISSION_DENIED, f"entry {describe_key(table, key)} of table {table.name!r} is const"
        )
    else:
        try:
            pipeline.engine.delete(table.full_name, key)
        except NoSuchEntry as error:
            raise no_such_entry(table, key) from error
        pipeline.keep_cookies(table.id, key, Cookies())


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
        _check_direct_resources(tables[0], wanted)
    if wanted.HasField("meter_counter_data"):
        raise P4RuntimeError(
            Code.UNIMPLEMENTED, "this switch keeps no counters per meter colour (meter_counter_data)"
        )
    if wanted.HasField("time_since_last_hit") and tables:
        raise _no_idle_timeout(tables[0])
    for table in tables:
        if wanted.is_default_action:
            yield _default_entry(pipeline, table, wanted)
        else:
            yield from _entries(pipeline, table, wanted)


def no_such_entry(table: Table, key: EntryKey) -> P4RuntimeError:
    """NOT_FOUND, naming the key."""
    return P4RuntimeError(Code.NOT_FOUND, f"table {table.name!r} has no entry {describe_key(table, key)}")


def _check_writable(table: Table, message: p4r.TableEntry) -> None:
    if message.is_const:
        raise invalid(
            f"table {table.name!r}: is_const must be false in a write, const entries are the program's"
        )
    if message.HasField("time_since_last_hit"):
        raise invalid(f"table {table.name!r}: time_since_last_hit must be unset in a write, it is only read")
    if message.idle_timeout_ns:
        raise _no_idle_timeout(table)
    if message.HasField("meter_counter_data"):
        raise P4RuntimeError(
            Code.UNIMPLEMENTED, "this switch keeps no counters per meter colour (meter_counter_data)"
        )
    _check_direct_resources(table, message)


def _no_idle_timeout(table: Table) -> P4RuntimeError:
    if table.has_idle_timeout:
        return P4RuntimeError(Code.UNIMPLEMENTED, f"table {table.name!r}: this switch has no idle timeouts")
    return invalid(f"table {table.name!r} does not support idle timeout")


def _check_direct_resources(table: Table, message: p4r.TableEntry) -> None:
    if message.HasField("counter_data") and table.direct_counter is None:
        raise invalid(f"table {table.name!r} has no direct counter, so counter_data must be unset")
    if message.HasField("meter_config") and table.direct_meter is None:
        raise invalid(f"table {table.name!r} has no direct meter, so meter_config must be unset")


def _cookies(message: p4r.TableEntry) -> Cookies:
    return Cookies(message.controller_metadata, message.metadata)


def _insert(pipeline: Pipeline, table: Table, key: EntryKey, message: p4r.TableEntry) -> None:
    if not message.HasField("action"):
        raise invalid(f"table {table.name!r}: an INSERT needs an action")
    call = decode_action(pipeline.program, table, message.action, is_default=False)
    meter = (
        decode_meter_config(table.direct_meter, message.meter_config)
        if message.HasField("meter_config")
        else None
    )
    counter = decode_counter_data(message.counter_data) if message.HasField("counter_data") else None
    engine, name = pipeline.engine, table.full_name
    try:
        engine.insert(name, key, call)
    except EntryExists as error:
        raise P4RuntimeError(
            Code.ALREADY_EXISTS, f"table {table.name!r} already has an entry {describe_key(table, key)}"
        ) from error
    except TableFull as error:
        raise P4RuntimeError(
            Code.RESOURCE_EXHAUSTED, f"table {table.name!r} is full: it holds its {table.size} entries"
        ) from error
    if meter is not None:
        engine.write_direct_meter(name, key, meter)
    if counter is not None:
        engine.write_direct_counter(name, key, counter)
    pipeline.keep_cookies(table.id, key, _cookies(message))


def _modify(
    pipeline: Pipeline, table: Table, key: EntryKey, message: p4r.TableEntry, *, is_const: bool
) -> None:
    has_action = message.HasField("action")
    if (is_const or table.is_const) and has_action:
        raise P4RuntimeError(
            Code.PERMISSION_DENIED,
            f"entry {describe_key(table, key)} of table {table.name!r} is const: MODIFY may set its direct "
            "counter and meter, with the action unset",
        )
    call = decode_action(pipeline.program, table, message.action, is_default=False) if has_action else None
    meter = (
        decode_meter_config(table.direct_meter, message.meter_config)
        if message.HasField("meter_config")
        else None
    )
    counter = decode_counter_data(message.counter_data) if message.HasField("counter_data") else None
    engine, name = pipeline.engine, table.full_name
    try:
        if call is not None:
            engine.modify(name, key, call)
        elif find_entry(pipeline, table, key) is None:
            raise no_such_entry(table, key)
    except NoSuchEntry as error:
        raise no_such_entry(table, key) from error
    if table.direct_meter is not None:
        engine.write_direct_meter(name, key, meter)
    if counter is not None:
        engine.write_direct_counter(name, key, counter)
    if call is not None:
        pipeline.keep_cookies(table.id, key, _cookies(message))


def find_entry(pipeline: Pipeline, table: Table, key: EntryKey) -> Entry | None:
    """The entry with this key, or None."""
    return pipeline.engine.entry(table.full_name, key)


def _write_default(
    pipeline: Pipeline, table: Table, kind: p4r.Update.Type.ValueType, message: p4r.TableEntry
) -> None:
    if kind != p4r.Update.MODIFY:
        raise invalid(f"the default entry of table {table.name!r} is always there (valid: MODIFY)")
    if message.match or message.priority:
        raise invalid(f"the default entry of table {table.name!r} takes neither match nor priority")
    if message.idle_timeout_ns or message.HasField("time_since_last_hit"):
        raise invalid(f"the default entry of table {table.name!r} does not support idle timeout")
    _check_writable(table, message)
    if table.const_default:
        raise P4RuntimeError(Code.PERMISSION_DENIED, f"the default action of table {table.name!r} is const")
    if message.HasField("counter_data") or message.HasField("meter_config"):
        raise P4RuntimeError(
            Code.UNIMPLEMENTED,
            f"table {table.name!r}: direct counters and meters belong to its entries, not its default",
        )
    if message.HasField("action"):
        call = decode_action(pipeline.program, table, message.action, is_default=True)
        pipeline.engine.set_default_action(table.full_name, call)
        pipeline.keep_cookies(table.id, None, _cookies(message))
        pipeline.set_defaults.add(table.id)
    else:
        pipeline.engine.set_default_action(table.full_name, None)
        pipeline.keep_cookies(table.id, None, Cookies())
        pipeline.set_defaults.discard(table.id)


def _default_entry(pipeline: Pipeline, table: Table, wanted: p4r.TableEntry) -> p4r.TableEntry:
    if wanted.match or wanted.priority:
        raise invalid(f"the default entry of table {table.name!r} takes neither match nor priority")
    entry = p4r.TableEntry(table_id=table.id, is_default_action=True, is_const=table.const_default)
    action = encode_action(table, pipeline.engine.default_action(table.full_name))
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
    for entry in pipeline.engine.entries(table.full_name):
        if key is not None and entry.key.matches != key.matches:
            continue
        if wanted.priority and entry.key.priority != wanted.priority:
            continue
        message = _entry(pipeline, table, entry, wanted)
        if _is_wanted(message, wanted):
            yield message


def _is_wanted(message: p4r.TableEntry, wanted: p4r.TableEntry) -> bool:
    if wanted.HasField("action") and message.action.action.action_id != wanted.action.action.action_id:
        return False
    if wanted.controller_metadata and message.controller_metadata != wanted.controller_metadata:
        return False
    return not wanted.metadata or message.metadata == wanted.metadata


def _entry(pipeline: Pipeline, table: Table, entry: Entry, wanted: p4r.TableEntry) -> p4r.TableEntry:
    message = p4r.TableEntry(
        table_id=table.id,
        match=encode_key(table, entry.key),
        action=encode_action(table, entry.action),
        priority=entry.key.priority,
        is_const=entry.is_const,
    )
    if wanted.HasField("counter_data") and table.direct_counter is not None:
        data = pipeline.engine.read_direct_counter(table.full_name, entry.key)
        message.counter_data.CopyFrom(encode_counter_data(data))
    if wanted.HasField("meter_config") and table.direct_meter is not None:
        config = pipeline.engine.read_direct_meter(table.full_name, entry.key)
        if config is not None:
            message.meter_config.CopyFrom(encode_meter_config(config))
    _add_cookies(pipeline, table, entry.key, message)
    return message


def _add_cookies(pipeline: Pipeline, table: Table, key: EntryKey | None, message: p4r.TableEntry) -> None:
    cookies = pipeline.cookies_of(table.id, key)
    message.controller_metadata, message.metadata = cookies.controller_metadata, cookies.metadata
