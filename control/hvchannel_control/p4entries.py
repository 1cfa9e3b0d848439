# SPDX-License-Identifier: Apache-2.0
"""Between the controller's plain entries and finsy's."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import TypeAlias

import finsy as fy

from hvchannel_control.entries import Count, Entry, Fields, MeterConfig
from hvchannel_control.reconcile import Operation, Update

_EMPTY_METER = fy.P4MeterConfig(cir=0, cburst=0, pir=0, pburst=0)


Found: TypeAlias = fy.P4TableEntry | fy.P4MeterEntry
Written: TypeAlias = fy.P4TableEntry | fy.P4DirectMeterEntry | fy.P4MeterEntry


def wildcards(schema: fy.P4Schema) -> list[Found]:
    """What to ask a switch for: all entries, with their meters, of every table a controller may write, and all cells of
    indexed meters."""
    tables: list[Found] = [
        # P4Runtime 1.5, 9.1: a switch tells of direct resources only when the request names them.
        fy.P4TableEntry(table.alias, meter_config=_EMPTY_METER if table.direct_meter is not None else None)
        for table in schema.tables
        if not table.is_const
    ]
    return [*tables, *(fy.P4MeterEntry(meter.alias) for meter in schema.meters)]


def request_of(schema: fy.P4Schema, entry: Entry) -> Found:
    """What to ask a switch for: one entry by its key, with its meter and counter."""
    if entry.is_cell:
        return fy.P4MeterEntry(entry.table, index=dict(entry.match)["index"])
    table = schema.tables[entry.table]
    return fy.P4TableEntry(
        entry.table,
        match=fy.P4TableMatch(entry.match),
        meter_config=_EMPTY_METER if table.direct_meter is not None else None,
        counter_data=fy.P4CounterData() if table.direct_counter is not None else None,
    )


def count_of(found: Found) -> Count:
    """Of an entry that was read with its counter."""
    data = found.counter_data
    return Count(data.packet_count, data.byte_count) if isinstance(data, fy.P4CounterData) else Count(0, 0)


def decode(found: Found) -> Entry | None:
    """An entry that was read; None for what no controller has written. Raises ValueError for one of a kind the programs
    do not have."""
    if isinstance(found, fy.P4MeterEntry):
        return _cell(found.meter_id, found.index or 0, found.config)
    if found.is_const:
        return None
    if found.action is not None and not isinstance(found.action, fy.P4TableAction):
        raise ValueError(
            f"table {found.table_id!r} has an action profile, which no program of the channel has"
        )
    return Entry(
        table=found.table_id,
        match=_fields(found.match or {}),
        action=found.action.name if found.action is not None else "",
        args=_fields(found.action.args if found.action is not None else {}),
        meter=_meter(found.meter_config),
    )


def _cell(meter: str, index: int, config: fy.P4MeterConfig | None) -> Entry | None:
    configured = _meter(config)
    return None if configured is None else Entry(meter, (("index", index),), "", meter=configured)


def encode(update: Update) -> Written:
    """An update, as finsy writes it."""
    entry = update.entry
    if entry.is_cell:
        config = None if update.operation is Operation.DELETE else entry.meter
        cell = fy.P4MeterEntry(entry.table, index=dict(entry.match)["index"])
        cell.config = fy.P4MeterConfig(**asdict(config)) if config is not None else None
        return ~cell
    found = fy.P4TableEntry(entry.table, match=fy.P4TableMatch(entry.match))
    if update.operation is Operation.RESET_METER:
        return ~fy.P4DirectMeterEntry(table_entry=found)
    if update.operation is Operation.DELETE:
        return -found
    found.action = fy.P4TableAction(entry.action, **dict(entry.args))
    if entry.meter is not None:
        found.meter_config = fy.P4MeterConfig(**asdict(entry.meter))
    return +found if update.operation is Operation.INSERT else ~found


def encode_all(updates: Iterable[Update]) -> list[Written]:
    return [encode(update) for update in updates]


def _fields(values: dict[str, object]) -> Fields:
    # finsy gives an address instead of a number where the P4Info says @format; both are int() of themselves.
    return tuple(sorted((name, int(value)) for name, value in values.items()))  # type: ignore[call-overload]


def _meter(config: fy.P4MeterConfig | None) -> MeterConfig | None:
    if config is None:
        return None
    return MeterConfig(cir=config.cir, cburst=config.cburst, pir=config.pir, pburst=config.pburst)
