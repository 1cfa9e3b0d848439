# SPDX-License-Identifier: Apache-2.0
"""Preinitialised tables: the program's first entries, which clients may change."""

from __future__ import annotations

from finsy.proto import p4r


def _all(names) -> p4r.Entity:
    return p4r.Entity(table_entry=p4r.TableEntry(table_id=names.table_id("initial_table")))


async def test_initial_entries_are_there_with_the_first_one_first(everything, names):
    found = [entity.table_entry for entity in await everything.read(_all(names))]
    assert [entry.priority for entry in found] == [3, 2, 1]
    assert [entry.action for entry in found] == [
        names.action("to_port", port=1),
        names.action("to_port", port=2),
        names.action("drop"),
    ]
    assert not any(entry.is_const for entry in found)


async def test_initial_entries_are_modified_and_deleted(everything, names):
    first, second, third = [entity.table_entry for entity in await everything.read(_all(names))]
    second.action.CopyFrom(names.action("to_port", port=4))
    await everything.write("MODIFY", p4r.Entity(table_entry=second))
    await everything.write("DELETE", p4r.Entity(table_entry=third))
    assert [e.table_entry for e in await everything.read(_all(names))] == [first, second]


async def test_a_preinitialised_table_has_the_size_that_p4info_gives_it(everything, names):
    """p4c writes the number of entries into the JSON instead."""
    more = [
        names.entry("initial_table", names.action("drop"), priority=n, ether_type=(n, 0xFFFF))
        for n in range(10, 24)
    ]
    await everything.write("INSERT", *(p4r.Entity(table_entry=entry) for entry in more[:13]))
    code, message = await everything.refused("INSERT", p4r.Entity(table_entry=more[13]))
    assert (code, message) == (
        "RESOURCE_EXHAUSTED",
        "table 'initial_table' is full: it holds its 16 entries",
    )
