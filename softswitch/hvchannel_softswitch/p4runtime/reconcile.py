# SPDX-License-Identifier: Apache-2.0
"""RECONCILE_AND_COMMIT: the forwarding state of one pipeline into another of nearly the same program."""

from __future__ import annotations

from hvchannel_softswitch.engine import ActionCall, CounterData, EngineError
from hvchannel_softswitch.p4runtime.errors import invalid
from hvchannel_softswitch.p4runtime.p4info import Table
from hvchannel_softswitch.p4runtime.pipeline import Pipeline


def carry_over(old: Pipeline, new: Pipeline) -> None:
    """Entries with their counters, meters and cookies, default actions, arrays and digest settings, by name.

    Raises INVALID_ARGUMENT when something that is set has no equal in the new program.
    """
    try:
        for table in old.program.tables.values():
            _table(old, new, table)
        _counters(old, new)
        _meters(old, new)
    except EngineError as error:
        raise invalid(f"the forwarding state cannot be kept: {error}") from error
    for name, queue in old.digests.items():
        if queue.config is None:
            continue
        if name not in new.digests:
            raise invalid(
                f"the forwarding state cannot be kept: digest {name!r} is on, but the new program has none "
                "such"
            )
        new.digests[name].enable(queue.config)


def _table(old: Pipeline, new: Pipeline, table: Table) -> None:
    entries = [entry for entry in old.engine.entries(table.full_name) if not entry.is_const]
    if not entries and table.id not in old.set_defaults:
        return
    heir = next((t for t in new.program.tables.values() if t.full_name == table.full_name), None)
    if heir is None:
        raise invalid(
            f"the forwarding state cannot be kept: table {table.full_name!r} is not in the new program"
        )
    if [(k.name, k.width, k.kind) for k in heir.keys] != [(k.name, k.width, k.kind) for k in table.keys]:
        raise invalid(
            f"the forwarding state cannot be kept: table {table.full_name!r} has other keys in the new "
            "program"
        )
    name, present = table.full_name, {entry.key for entry in new.engine.entries(table.full_name)}
    for entry in entries:
        _check_action(table, heir, entry.action)
        if entry.key in present:
            new.engine.modify(name, entry.key, entry.action)
        else:
            new.engine.insert(name, entry.key, entry.action)
        if table.direct_counter is not None and heir.direct_counter is not None:
            new.engine.write_direct_counter(name, entry.key, old.engine.read_direct_counter(name, entry.key))
        if table.direct_meter is not None and heir.direct_meter is not None:
            new.engine.write_direct_meter(name, entry.key, old.engine.read_direct_meter(name, entry.key))
        new.keep_cookies(heir.id, entry.key, old.cookies_of(table.id, entry.key))
    if table.id in old.set_defaults:
        if heir.const_default:
            raise invalid(
                f"the forwarding state cannot be kept: table {name!r} has a const default in the new program"
            )
        call = old.engine.default_action(name)
        _check_action(table, heir, call)
        new.engine.set_default_action(name, call)
        new.keep_cookies(heir.id, None, old.cookies_of(table.id, None))
        new.set_defaults.add(heir.id)


def _check_action(table: Table, heir: Table, call: ActionCall) -> None:
    params = {
        action.full_name: [(p.name, p.width) for p in action.params] for action, _ in table.actions.values()
    }
    heirs = {
        action.full_name: [(p.name, p.width) for p in action.params] for action, _ in heir.actions.values()
    }
    if call.name not in heirs or heirs[call.name] != params[call.name]:
        raise invalid(
            f"the forwarding state cannot be kept: action {call.name!r} of table {table.full_name!r} is "
            "missing or has other parameters in the new program"
        )


def _counters(old: Pipeline, new: Pipeline) -> None:
    sizes = {counter.full_name: counter.size for counter in new.program.counters.values()}
    for counter in old.program.counters.values():
        for index in range(min(counter.size, sizes.get(counter.full_name, 0))):
            data = old.engine.read_counter(counter.full_name, index)
            if data != CounterData():
                new.engine.write_counter(counter.full_name, index, data)


def _meters(old: Pipeline, new: Pipeline) -> None:
    sizes = {meter.full_name: meter.size for meter in new.program.meters.values()}
    for meter in old.program.meters.values():
        for index in range(meter.size):
            config = old.engine.read_meter(meter.full_name, index)
            if config is None:
                continue
            if index >= sizes.get(meter.full_name, 0):
                raise invalid(
                    f"the forwarding state cannot be kept: cell {index} of meter {meter.full_name!r} is "
                    "configured, but not in the new program"
                )
            new.engine.write_meter(meter.full_name, index, config)
