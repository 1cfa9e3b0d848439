# SPDX-License-Identifier: Apache-2.0
"""One update of a Write, and one query of a Read, to the module of its entity."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from typing import Any

import structlog
from finsy.proto import p4r

from hvchannel_softswitch.engine import EngineError
from hvchannel_softswitch.p4runtime.batches import Batch, Run
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
from hvchannel_softswitch.p4runtime.entry_shapes import FEW
from hvchannel_softswitch.p4runtime.errors import Code, P4RuntimeError, invalid
from hvchannel_softswitch.p4runtime.pipeline import Pipeline
from hvchannel_softswitch.p4runtime.profile_entries import (
    read_groups,
    read_members,
    write_group,
    write_member,
)
from hvchannel_softswitch.p4runtime.registers import read_registers, write_register
from hvchannel_softswitch.p4runtime.replication import read_replication, write_replication
from hvchannel_softswitch.p4runtime.table_entries import write_table_entry
from hvchannel_softswitch.p4runtime.table_reads import read_table_entries
from hvchannel_softswitch.p4runtime.value_sets import read_value_sets, write_value_set
from hvchannel_softswitch.p4runtime.wire import elements

_log = structlog.get_logger(__name__)

_WRITERS: dict[str, Callable[[Pipeline, p4r.Update.Type.ValueType, Any], None]] = {
    "table_entry": write_table_entry,
    "counter_entry": write_counter,
    "direct_counter_entry": write_direct_counter,
    "meter_entry": write_meter,
    "direct_meter_entry": write_direct_meter,
    "digest_entry": write_digest_entry,
    "action_profile_member": write_member,
    "action_profile_group": write_group,
    "packet_replication_engine_entry": write_replication,
    "value_set_entry": write_value_set,
    "register_entry": write_register,
}

_READERS: dict[str, Callable[[Pipeline, Any], Iterator[Any]]] = {
    "table_entry": read_table_entries,
    "counter_entry": read_counters,
    "direct_counter_entry": read_direct_counters,
    "meter_entry": read_meters,
    "direct_meter_entry": read_direct_meters,
    "digest_entry": read_digest_entries,
    "action_profile_member": read_members,
    "action_profile_group": read_groups,
    "packet_replication_engine_entry": read_replication,
    "value_set_entry": read_value_sets,
    "register_entry": read_registers,
}


def apply_update(pipeline: Pipeline, update: p4r.Update) -> None:
    """Raises P4RuntimeError when the update is refused; nothing of it is applied then."""
    kind, entity = update.type, update.entity
    if kind not in _UPDATE_TYPES:
        raise invalid(f"update type {kind} is not valid (valid: INSERT, MODIFY, DELETE)")
    name = entity.WhichOneof("entity")
    try:
        _handler(_WRITERS, name)(pipeline, kind, getattr(entity, name or ""))
    except EngineError as error:
        raise invalid(str(error)) from error


def apply_each(pipeline: Pipeline, request: p4r.WriteRequest) -> Sequence[P4RuntimeError | None] | None:
    """Applies each update whatever becomes of the others: one error, or None, for each; None when all went well."""
    # Bytes, since most updates need not be looked at as messages, and reading a message costs more than writing it.
    updates = elements(request.SerializeToString(), p4r.WriteRequest.UPDATES_FIELD_NUMBER)
    errors = [_apply_serialised(pipeline, data) for data in updates]
    return errors if any(errors) else None


def apply_batch(pipeline: Pipeline, batch: Batch) -> Sequence[P4RuntimeError | None] | None:
    """The same, for a request as it came in. Raises DecodeError for one with updates that are none; then nothing has
    been applied."""
    if len(batch.runs) == 1 and batch.runs[0].size == 1:
        error = _apply_serialised(pipeline, next(batch.runs[0].updates()))
        return None if error is None else [error]
    shapes = [pipeline.shapes.of(run) for run in batch.runs]
    if None in shapes:
        p4r.WriteRequest.FromString(batch.data)
    errors: dict[int, P4RuntimeError] = {}
    number = 0
    for run, shape in zip(batch.runs, shapes, strict=True):
        done = shape.insert_run(run) if shape is not None and run.size >= FEW else 0
        if done < run.size:
            refused = enumerate(_apply_run(pipeline, run.after(done)), number + done)
            errors.update((place, error) for place, error in refused if error is not None)
        number += run.size
    return [errors.get(place) for place in range(number)] if errors else None


def _apply_run(pipeline: Pipeline, run: Run) -> Iterator[P4RuntimeError | None]:
    # The first one alone: it will be refused, or others are recognised by it; so the rest at once. What is so mixed
    # that this fails goes one by one.
    yield _apply_serialised(pipeline, next(run.updates()))
    run = run.after(1)
    if run.size >= FEW:
        done = pipeline.shapes.insert_run(run)
        yield from repeat(None, done)
        run = run.after(done)
    for data in run.updates():
        yield _apply_serialised(pipeline, data)


def _apply_serialised(pipeline: Pipeline, data: bytes) -> P4RuntimeError | None:
    if pipeline.shapes.insert(data):
        return None
    update = p4r.Update.FromString(data)
    try:
        apply_update(pipeline, update)
    except P4RuntimeError as error:
        _log.debug("update_refused", code=error.code.name, reason=error.message)
        return error
    pipeline.shapes.learn(update, data)
    return None


_UPDATE_TYPES = frozenset((p4r.Update.INSERT, p4r.Update.MODIFY, p4r.Update.DELETE))


def read_entities(pipeline: Pipeline, wanted: p4r.Entity) -> list[p4r.Entity]:
    """All entities that one query of a Read selects. Raises P4RuntimeError for a query that is not valid."""
    kind = wanted.WhichOneof("entity")
    if kind == "extern_entry" and not wanted.extern_entry.extern_type_id:
        return []  # all of nothing: controllers send it to see or clear all state
    reader = _handler(_READERS, kind)
    assert kind is not None, "_handler refuses None"
    return [p4r.Entity(**{kind: found}) for found in reader(pipeline, getattr(wanted, kind))]


def _handler(handlers: dict[str, Callable[..., Any]], kind: str | None) -> Callable[..., Any]:
    if kind is None:
        raise invalid(f"the entity is empty (valid: {', '.join(handlers)})")
    if kind not in handlers:
        raise P4RuntimeError(
            Code.UNIMPLEMENTED, f"{kind} is not supported by this switch (valid: {', '.join(handlers)})"
        )
    return handlers[kind]
