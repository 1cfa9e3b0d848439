# SPDX-License-Identifier: Apache-2.0
"""Between the controller's plain entries and finsy's."""

from collections.abc import Iterable
from dataclasses import asdict

import finsy as fy

from hvchannel_control.entries import Count, Entry, Fields, MeterConfig
from hvchannel_control.reconcile import Operation, Update

_EMPTY_METER = fy.P4MeterConfig(cir=0, cburst=0, pir=0, pburst=0)


def wildcards(schema: fy.P4Schema) -> list[fy.P4TableEntry]:
    """What to ask a switch for: all entries, with their meters, of every table a controller may write."""
    return [
        # P4Runtime 1.5, 9.1: a switch tells of direct resources only when the request names them.
        fy.P4TableEntry(table.alias, meter_config=_EMPTY_METER if table.direct_meter is not None else None)
        for table in schema.tables
        if not table.is_const
    ]


def request_of(schema: fy.P4Schema, entry: Entry) -> fy.P4TableEntry:
    """What to ask a switch for: one entry by its key, with its meter and counter."""
    metered = schema.tables[entry.table].direct_meter is not None
    return fy.P4TableEntry(
        entry.table,
        match=fy.P4TableMatch(entry.match),
        meter_config=_EMPTY_METER if metered else None,
        counter_data=fy.P4CounterData(),
    )


def count_of(found: fy.P4TableEntry) -> Count:
    """Of an entry that was read with its counter."""
    data = found.counter_data
    return Count(data.packet_count, data.byte_count) if data is not None else Count(0, 0)


def decode(found: fy.P4TableEntry) -> Entry:
    """An entry that was read. Raises ValueError for one of a kind the programs do not have."""
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


def encode(update: Update) -> fy.P4TableEntry | fy.P4DirectMeterEntry:
    """An update, as finsy writes it."""
    entry = update.entry
    found = fy.P4TableEntry(entry.table, match=fy.P4TableMatch(entry.match))
    if update.operation is Operation.RESET_METER:
        return ~fy.P4DirectMeterEntry(table_entry=found)
    if update.operation is Operation.DELETE:
        return -found
    found.action = fy.P4TableAction(entry.action, **dict(entry.args))
    if entry.meter is not None:
        found.meter_config = fy.P4MeterConfig(**asdict(entry.meter))
    return +found if update.operation is Operation.INSERT else ~found


def encode_all(updates: Iterable[Update]) -> list[fy.P4TableEntry | fy.P4DirectMeterEntry]:
    return [encode(update) for update in updates]


def _fields(values: dict[str, object]) -> Fields:
    # finsy gives an address instead of a number where the P4Info says @format; both are int() of themselves.
    return tuple(sorted((name, int(value)) for name, value in values.items()))  # type: ignore[call-overload]


def _meter(config: fy.P4MeterConfig | None) -> MeterConfig | None:
    if config is None:
        return None
    return MeterConfig(cir=config.cir, cburst=config.cburst, pir=config.pir, pburst=config.pburst)
