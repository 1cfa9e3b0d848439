# SPDX-License-Identifier: Apache-2.0
"""An arena that another process left, whose program still forwards: what the tables' Python side must know of it.

That process may have died between any two stores. A record that nothing leads to was not published yet, or is one
that a deletion or a modification left behind; either way it is free once no packet looks at it. An entry whose mask
group is not in force was never seen by a packet, and its Write never answered: it goes.
"""

from __future__ import annotations

from collections.abc import Iterable

from hvchannel_softswitch.xdp.arena import Arena, ArenaError
from hvchannel_softswitch.xdp.grace import Grace
from hvchannel_softswitch.xdp.layout import LIVE
from hvchannel_softswitch.xdp.records import LAST_SERIAL
from hvchannel_softswitch.xdp.tables import LiveTable


def adopt_tables(arena: Arena, tables: Iterable[LiveTable], grace: Grace) -> None:
    """Takes the tables as they are in the arena. Raises ArenaError for one that is not theirs."""
    found = [(table, _linked(arena, table)) for table in tables]
    grace.wait_beyond(grace.generation)
    for table, slots in found:
        _settle(table, slots)


def _linked(arena: Arena, table: LiveTable) -> set[int]:
    """The slots of the entries that packets can see; others are unlinked."""
    u32, found = arena.u32, set[int]()
    _check(table, table.default, found)
    table.begin_adoption()
    for head in table.heads():
        at, length = head, 0
        while slot := u32[at]:
            _check(table, slot, found)
            if table.adopt_entry(slot, length + 1):
                found.add(slot)
                length += 1
                at = table.next_of(slot)
            else:
                u32[at] = u32[table.next_of(slot)]
    return found


def _check(table: LiveTable, slot: int, found: set[int]) -> None:
    name, slots = table.table.name, table.layout.slots
    if not 0 < slot < slots:
        raise ArenaError(f"table {name!r} leads to entry {slot}, and it has room for 1 to {slots - 1}")
    if slot in found:
        raise ArenaError(f"table {name!r} leads to entry {slot} twice")
    if not table.records.read_flags(slot) & LIVE or not table.records.has_action(slot):
        raise ArenaError(f"table {name!r} leads to entry {slot}, which is no entry")


def _settle(table: LiveTable, found: set[int]) -> None:
    """No packet sees anything but what is linked."""
    records, used = table.records, found | {table.default}
    # What a modification left behind has the rank of the entry it belongs to, and nothing else has: serials differ.
    heirs = {records.read_rank(slot): slot for slot in found}
    for slot in records.all_live():
        if slot not in used:
            table.bequeath(slot, heirs.get(records.read_rank(slot)))
    table.slots.adopt(used)
    table.count = len(found)
    table.serial = max((LAST_SERIAL - table.age(slot) for slot in found), default=0)
    if table.meters is not None:
        table.meters.adopt({records.meter(slot) for slot in found})
    if table.idle is not None:
        for slot in found:
            table.idle.adopt(slot)
