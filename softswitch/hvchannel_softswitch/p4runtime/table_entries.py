# SPDX-License-Identifier: Apache-2.0
"""Writes of TableEntry (section "TableEntry"), default entries and direct resources included."""

from __future__ import annotations

from finsy.proto import p4r

from hvchannel_softswitch.engine import (
    Action,
    Entry,
    EntryExists,
    EntryKey,
    LookUpTooLong,
    MeterConfig,
    NoSuchEntry,
    TableFull,
)
from hvchannel_softswitch.p4runtime.actions import decode_table_action
from hvchannel_softswitch.p4runtime.counters_meters import decode_counter_data, decode_meter_config
from hvchannel_softswitch.p4runtime.errors import Code, P4RuntimeError, invalid
from hvchannel_softswitch.p4runtime.indirect_tables import forget_entry, put_entry
from hvchannel_softswitch.p4runtime.matches import decode_key, describe_key
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
        forget_entry(pipeline, table, key)
        pipeline.keep_cookies(table.id, key, Cookies())


def no_such_entry(table: Table, key: EntryKey) -> P4RuntimeError:
    """NOT_FOUND, naming the key."""
    return P4RuntimeError(Code.NOT_FOUND, f"table {table.name!r} has no entry {describe_key(table, key)}")


def check_direct_resources(table: Table, message: p4r.TableEntry) -> None:
    """Raises INVALID_ARGUMENT for a counter or meter that the table's entries do not have."""
    if message.HasField("counter_data") and table.direct_counter is None:
        raise invalid(f"table {table.name!r} has no direct counter, so counter_data must be unset")
    if message.HasField("meter_config") and table.direct_meter is None:
        raise invalid(f"table {table.name!r} has no direct meter, so meter_config must be unset")


def no_idle_timeout(table: Table) -> P4RuntimeError:
    """INVALID_ARGUMENT, for a table that P4Info does not give idle timeouts."""
    return invalid(f"table {table.name!r} does not support idle timeout")


def _check_writable(table: Table, message: p4r.TableEntry) -> None:
    if message.is_const:
        raise invalid(
            f"table {table.name!r}: is_const must be false in a write, const entries are the program's"
        )
    if message.HasField("time_since_last_hit"):
        raise invalid(f"table {table.name!r}: time_since_last_hit must be unset in a write, it is only read")
    if timeout := message.idle_timeout_ns:
        if not table.has_idle_timeout:
            raise no_idle_timeout(table)
        if timeout < 0:
            raise invalid(
                f"table {table.name!r}: idle_timeout_ns {timeout} is negative (valid: 0, for never, or more)"
            )
    if message.HasField("meter_counter_data"):
        raise P4RuntimeError(
            Code.UNIMPLEMENTED, "this switch keeps no counters per meter colour (meter_counter_data)"
        )
    check_direct_resources(table, message)


def _cookies(message: p4r.TableEntry) -> Cookies:
    return Cookies(message.controller_metadata, message.metadata)


def _decode_meter(pipeline: Pipeline, table: Table, message: p4r.TableEntry) -> MeterConfig | None:
    """What can be refused of the meter is refused here, before anything has changed. None: it is unset."""
    if not message.HasField("meter_config"):
        return None
    config = decode_meter_config(table.direct_meter, message.meter_config)
    pipeline.engine.check_meter(config)
    return config


def _insert(pipeline: Pipeline, table: Table, key: EntryKey, message: p4r.TableEntry) -> None:
    if not message.HasField("action"):
        raise invalid(f"table {table.name!r}: an INSERT needs an action")
    has_counter = message.HasField("counter_data")
    meter = _decode_meter(pipeline, table, message)
    counter = decode_counter_data(message.counter_data) if has_counter else None
    engine, name = pipeline.engine, table.full_name

    def put(action: Action) -> None:
        try:
            engine.insert(name, key, action)
        except EntryExists as error:
            raise P4RuntimeError(
                Code.ALREADY_EXISTS, f"table {table.name!r} already has an entry {describe_key(table, key)}"
            ) from error
        except TableFull as error:
            raise P4RuntimeError(
                Code.RESOURCE_EXHAUSTED, f"table {table.name!r} is full: it holds its {table.size} entries"
            ) from error
        except LookUpTooLong as error:
            raise P4RuntimeError(Code.RESOURCE_EXHAUSTED, str(error)) from error

    if table.profile is None:
        put(decode_table_action(pipeline.program, table, message.action, is_default=False))
    else:
        put_entry(pipeline, table, key, message.action, put)
    if meter is not None:
        engine.write_direct_meter(name, key, meter)
    if counter is not None:
        engine.write_direct_counter(name, key, counter)
    if message.idle_timeout_ns:
        engine.set_idle_timeout(name, key, message.idle_timeout_ns)
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
    has_counter = message.HasField("counter_data")
    meter = _decode_meter(pipeline, table, message)
    counter = decode_counter_data(message.counter_data) if has_counter else None
    if (is_const or table.is_const) and message.idle_timeout_ns:
        raise invalid(
            f"entry {describe_key(table, key)} of table {table.name!r} is const: it has no idle timeout"
        )
    engine, name = pipeline.engine, table.full_name

    def put(action: Action) -> None:
        try:
            engine.modify(name, key, action)
        except NoSuchEntry as error:
            raise no_such_entry(table, key) from error

    if not has_action:
        if find_entry(pipeline, table, key) is None:
            raise no_such_entry(table, key)
    elif table.profile is None:
        put(decode_table_action(pipeline.program, table, message.action, is_default=False))
    else:
        put_entry(pipeline, table, key, message.action, put)
    if table.direct_meter is not None:
        engine.write_direct_meter(name, key, meter)
    if counter is not None:
        engine.write_direct_counter(name, key, counter)
    if has_action:
        if table.has_idle_timeout:
            engine.set_idle_timeout(name, key, message.idle_timeout_ns)
        pipeline.keep_cookies(table.id, key, _cookies(message))
    elif message.idle_timeout_ns:
        engine.set_idle_timeout(name, key, message.idle_timeout_ns)


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
    if table.const_default or table.profile is not None:
        raise P4RuntimeError(Code.PERMISSION_DENIED, f"the default action of table {table.name!r} is const")
    if message.HasField("counter_data") or message.HasField("meter_config"):
        raise P4RuntimeError(
            Code.UNIMPLEMENTED,
            f"table {table.name!r}: direct counters and meters belong to its entries, not its default",
        )
    if message.HasField("action"):
        call = decode_table_action(pipeline.program, table, message.action, is_default=True)
        pipeline.engine.set_default_action(table.full_name, call)
        pipeline.keep_cookies(table.id, None, _cookies(message))
        pipeline.set_defaults.add(table.id)
    else:
        pipeline.engine.set_default_action(table.full_name, None)
        pipeline.keep_cookies(table.id, None, Cookies())
        pipeline.set_defaults.discard(table.id)
