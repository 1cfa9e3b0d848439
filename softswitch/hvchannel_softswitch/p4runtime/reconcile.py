# SPDX-License-Identifier: Apache-2.0
"""RECONCILE_AND_COMMIT: the forwarding state of one pipeline into another of nearly the same program."""

from __future__ import annotations

from hvchannel_softswitch.engine import ActionCall, CounterData, EngineError
from hvchannel_softswitch.p4runtime.errors import invalid
from hvchannel_softswitch.p4runtime.p4info import Table
from hvchannel_softswitch.p4runtime.pipeline import Pipeline
from hvchannel_softswitch.p4runtime.reconcile_profiles import carry_profiles, check_action


def carry_over(old: Pipeline, new: Pipeline) -> None:
    """Entries with their counters, meters, idle timeouts and cookies, default actions, action profiles, arrays, value
    sets, multicast groups, clone sessions and digest settings, by name.

    Raises INVALID_ARGUMENT when something that is set has no equal in the new program.
    """
    try:
        carry_profiles(old, new)
        for table in old.program.tables.values():
            _table(old, new, table)
        _counters(old, new)
        _meters(old, new)
        _registers(old, new)
        _value_sets(old, new)
        _replication(old, new)
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
    heir = new.program.tables_by_name.get(table.full_name)
    if heir is None:
        raise invalid(
            f"the forwarding state cannot be kept: table {table.full_name!r} is not in the new program"
        )
    if _profile_name(heir) != _profile_name(table):
        raise invalid(
            f"the forwarding state cannot be kept: table {table.full_name!r} takes its actions from elsewhere in the "
            "new program"
        )
    if [(k.name, k.width, k.kind) for k in heir.keys] != [(k.name, k.width, k.kind) for k in table.keys]:
        raise invalid(
            f"the forwarding state cannot be kept: table {table.full_name!r} has other keys in the new "
            "program"
        )
    name, present = table.full_name, {entry.key for entry in new.engine.entries(table.full_name)}
    for entry in entries:
        if isinstance(entry.action, ActionCall):
            check_action(table, heir, entry.action)
        if entry.key in present:
            new.engine.modify(name, entry.key, entry.action)
        else:
            new.engine.insert(name, entry.key, entry.action)
        if table.direct_counter is not None and heir.direct_counter is not None:
            new.engine.write_direct_counter(name, entry.key, old.engine.read_direct_counter(name, entry.key))
        if table.direct_meter is not None and heir.direct_meter is not None:
            new.engine.write_direct_meter(name, entry.key, old.engine.read_direct_meter(name, entry.key))
        if table.has_idle_timeout and heir.has_idle_timeout:
            new.engine.set_idle_timeout(name, entry.key, old.engine.idle_timeout(name, entry.key))
        new.keep_cookies(heir.id, entry.key, old.cookies_of(table.id, entry.key))
    if table.id in old.set_defaults:
        if heir.const_default:
            raise invalid(
                f"the forwarding state cannot be kept: table {name!r} has a const default in the new program"
            )
        call = old.engine.default_action(name)
        assert isinstance(call, ActionCall), "an indirect table's default is const"
        check_action(table, heir, call)
        new.engine.set_default_action(name, call)
        new.keep_cookies(heir.id, None, old.cookies_of(table.id, None))
        new.set_defaults.add(heir.id)


def _profile_name(table: Table) -> str | None:
    return table.profile.full_name if table.profile is not None else None


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


def _registers(old: Pipeline, new: Pipeline) -> None:
    """Cells are the data path's: those that still fit are kept."""
    heirs = {register.full_name: register for register in new.program.registers.values()}
    for register in old.program.registers.values():
        heir = heirs.get(register.full_name)
        if heir is None or heir.cell.width != register.cell.width:
            continue
        for index in range(min(register.size, heir.size)):
            value = old.engine.read_register(register.full_name, index)
            if value:
                new.engine.write_register(register.full_name, index, value)


def _value_sets(old: Pipeline, new: Pipeline) -> None:
    heirs = {value_set.full_name: value_set for value_set in new.program.value_sets.values()}
    for value_set in old.program.value_sets.values():
        name, members = value_set.full_name, old.engine.value_set(value_set.full_name)
        if not members:
            continue
        if name not in heirs or [(k.width, k.kind) for k in heirs[name].keys] != [
            (k.width, k.kind) for k in value_set.keys
        ]:
            raise invalid(
                f"the forwarding state cannot be kept: value set {name!r} is missing or has other keys "
                "in the new program"
            )
        new.engine.set_value_set(name, members)


def _replication(old: Pipeline, new: Pipeline) -> None:
    for group, replicas in old.engine.multicast_groups().items():
        new.engine.set_multicast_group(group, replicas)
    for number, session in old.engine.clone_sessions().items():
        new.engine.set_clone_session(number, session)
    new.multicast_groups = dict(old.multicast_groups)
    new.clone_sessions = dict(old.clone_sessions)
