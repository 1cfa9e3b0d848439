# SPDX-License-Identifier: Apache-2.0
"""One update of a Write, and one query of a Read, to the module of its entity."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from finsy.proto import p4r

from hvchannel_softswitch.engine import EngineError
from hvchannel_softswitch.p4runtime.counters_meters import (
    read_counters,
    read_meters,
    write_counter,
    write_meter,
)
from hvchannel_softswitch.p4runtime.digest_entries import read_digest_entries, write_digest_entry
from hvchannel_softswitch.p4runtime.direct_resources import (
    read_direct_counters,
    read_direct_meters,
    write_direct_counter,
    write_direct_meter,
)
from hvchannel_softswitch.p4runtime.errors import Code, P4RuntimeError, invalid
from hvchannel_softswitch.p4runtime.pipeline import Pipeline
from hvchannel_softswitch.p4runtime.table_entries import read_table_entries, write_table_entry

_WRITERS: dict[str, Callable[[Pipeline, p4r.Update.Type.ValueType, Any], None]] = {
    "table_entry": write_table_entry,
    "counter_entry": write_counter,
    "direct_counter_entry": write_direct_counter,
    "meter_entry": write_meter,
    "direct_meter_entry": write_direct_meter,
    "digest_entry": write_digest_entry,
}

_READERS: dict[str, Callable[[Pipeline, Any], Iterator[Any]]] = {
    "table_entry": read_table_entries,
    "counter_entry": read_counters,
    "direct_counter_entry": read_direct_counters,
    "meter_entry": read_meters,
    "direct_meter_entry": read_direct_meters,
    "digest_entry": read_digest_entries,
}


def apply_update(pipeline: Pipeline, update: p4r.Update) -> None:
    """Raises P4RuntimeError when the update is refused; nothing of it is applied then."""
    if update.type not in (p4r.Update.INSERT, p4r.Update.MODIFY, p4r.Update.DELETE):
        raise invalid(f"update type {update.type} is not valid (valid: INSERT, MODIFY, DELETE)")
    kind = update.entity.WhichOneof("entity")
    try:
        _handler(_WRITERS, kind)(pipeline, update.type, getattr(update.entity, kind or ""))
    except EngineError as error:
        raise invalid(str(error)) from error


def read_entities(pipeline: Pipeline, wanted: p4r.Entity) -> list[p4r.Entity]:
    """All entities that one query of a Read selects. Raises P4RuntimeError for a query that is not valid."""
    kind = wanted.WhichOneof("entity")
    if _asks_for_all_of_nothing(pipeline, wanted):
        return []
    reader = _handler(_READERS, kind)
    assert kind is not None, "_handler refuses None"
    return [p4r.Entity(**{kind: found}) for found in reader(pipeline, getattr(wanted, kind))]


def _asks_for_all_of_nothing(pipeline: Pipeline, wanted: p4r.Entity) -> bool:
    """A wildcard read of entities that this switch cannot have, as controllers send to see or clear all state: the
    true answer is that there are none."""
    match wanted.WhichOneof("entity"):
        case "packet_replication_engine_entry":
            entry = wanted.packet_replication_engine_entry
            return not (
                entry.multicast_group_entry.multicast_group_id or entry.clone_session_entry.session_id
            )
        case "action_profile_member":
            return not wanted.action_profile_member.action_profile_id
        case "action_profile_group":
            return not wanted.action_profile_group.action_profile_id
        case "value_set_entry":
            return not wanted.value_set_entry.value_set_id
        case "register_entry":
            return not wanted.register_entry.register_id and not pipeline.program.has_registers
        case "extern_entry":
            return not wanted.extern_entry.extern_type_id
    return False


def _handler(handlers: dict[str, Callable[..., Any]], kind: str | None) -> Callable[..., Any]:
    if kind is None:
        raise invalid(f"the entity is empty (valid: {', '.join(handlers)})")
    if kind not in handlers:
        raise P4RuntimeError(
            Code.UNIMPLEMENTED, f"{kind} is not supported by this switch (valid: {', '.join(handlers)})"
        )
    return handlers[kind]
