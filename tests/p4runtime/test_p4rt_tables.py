# SPDX-License-Identifier: Apache-2.0
"""Write and Read of table entries: every match kind, default entries, const tables, direct resources, batches."""

from __future__ import annotations

import grpc
import pytest
from finsy.proto import p4r


def _entity(entry: p4r.TableEntry) -> p4r.Entity:
    return p4r.Entity(table_entry=entry)


async def _entries(client, wanted: p4r.TableEntry) -> list[p4r.TableEntry]:
    return [entity.table_entry for entity in await client.read(_entity(wanted))]


@pytest.fixture
def exact(kinds):
    return kinds.entry("exact_table", kinds.action("to_port", port=2), dst=0xA, port=1)


@pytest.fixture
def each_kind(kinds, exact):
    """Entries with every match kind, "don't care" ones included."""
    to_port = kinds.action("to_port", port=2)
    return [
        exact,
        kinds.entry("lpm_table", to_port, src=(0xAA0000000000, 8)),
        kinds.entry("lpm_table", to_port),
        kinds.entry("ternary_table", to_port, priority=10, dst=(0x10, 0xF0)),
        kinds.entry("ternary_table", to_port, priority=9, ether_type=(0x800, 0x86DD)),
        kinds.entry("ternary_table", to_port, priority=9, port=0),
        kinds.entry("ternary_table", to_port, priority=1),
    ]


async def test_insert_then_read_gives_the_same_entries(primary, each_kind):
    await primary.write("INSERT", *map(_entity, each_kind))
    for table_id in {entry.table_id for entry in each_kind}:
        expected = [entry for entry in each_kind if entry.table_id == table_id]
        assert await _entries(primary, p4r.TableEntry(table_id=table_id)) == expected


async def test_table_id_zero_reads_all_tables_const_ones_included(primary, kinds, each_kind):
    await primary.write("INSERT", *map(_entity, each_kind))
    found = await _entries(primary, p4r.TableEntry())
    assert [entry for entry in found if not entry.is_const] == each_kind
    assert [entry.table_id for entry in found if entry.is_const] == [kinds.table_id("const_table")] * 2


async def test_leading_zeros_are_taken_and_dropped(primary, exact):
    padded = p4r.TableEntry()
    padded.CopyFrom(exact)
    padded.match[0].exact.value = bytes(9) + b"\x0a"
    padded.action.action.params[0].value = b"\x00\x00\x02"
    await primary.write("INSERT", _entity(padded))
    assert await _entries(primary, p4r.TableEntry(table_id=exact.table_id)) == [exact]


async def test_modify_replaces_the_action(primary, kinds, exact):
    await primary.write("INSERT", _entity(exact))
    changed = kinds.entry("exact_table", kinds.action("rewrite", dst=5, port=3), dst=0xA, port=1)
    await primary.write("MODIFY", _entity(changed))
    assert await _entries(primary, p4r.TableEntry(table_id=exact.table_id)) == [changed]


async def test_modify_without_action_keeps_it(primary, kinds, exact):
    assert (await primary.refused("MODIFY", _entity(kinds.entry("exact_table", dst=0xA, port=1))))[
        0
    ] == "NOT_FOUND"
    await primary.write("INSERT", _entity(exact))
    await primary.write("MODIFY", _entity(kinds.entry("exact_table", dst=0xA, port=1)))
    assert await _entries(primary, p4r.TableEntry(table_id=exact.table_id)) == [exact]


async def test_delete_looks_at_the_key_only(primary, kinds, exact):
    await primary.write("INSERT", _entity(exact))
    nonsense = p4r.TableEntry(table_id=exact.table_id, match=exact.match, idle_timeout_ns=5, metadata=b"x")
    nonsense.action.action.action_id = 99
    await primary.write("DELETE", _entity(nonsense))
    assert await _entries(primary, p4r.TableEntry(table_id=exact.table_id)) == []
    assert await primary.refused("DELETE", _entity(exact)) == (
        "NOT_FOUND",
        "table 'exact_table' has no entry dst=0xa, port=0x1",
    )


async def test_cookies_are_returned_and_filtered_by(primary, kinds, exact):
    exact.metadata, exact.controller_metadata = b"mine", 77
    other = kinds.entry("exact_table", kinds.action("to_port", port=2), dst=0xB, port=1)
    await primary.write("INSERT", _entity(exact), _entity(other))
    by_metadata = p4r.TableEntry(table_id=exact.table_id, metadata=b"mine")
    by_number = p4r.TableEntry(table_id=exact.table_id, controller_metadata=77)
    assert await _entries(primary, by_metadata) == await _entries(primary, by_number) == [exact]
    await primary.write("DELETE", _entity(exact))
    exact.metadata, exact.controller_metadata = b"", 0
    await primary.write("INSERT", _entity(exact))
    assert await _entries(primary, p4r.TableEntry(table_id=exact.table_id)) == [other, exact]


async def test_read_filters(primary, kinds, each_kind):
    await primary.write("INSERT", *map(_entity, each_kind))
    ternary = kinds.table_id("ternary_table")
    assert await _entries(primary, p4r.TableEntry(table_id=ternary, priority=9)) == each_kind[4:6]
    one = kinds.entry("ternary_table", dst=(0x10, 0xF0))
    assert await _entries(primary, one) == [each_kind[3]]
    absent = kinds.entry("exact_table", dst=0xFF, port=1)
    assert await _entries(primary, absent) == []
    by_action = p4r.TableEntry(table_id=each_kind[0].table_id)
    by_action.action.action.action_id = kinds.actions["drop"].preamble.id
    assert await _entries(primary, by_action) == []


async def test_default_action_is_modified_read_and_reset(primary, kinds):
    default = p4r.TableEntry(table_id=kinds.table_id("lpm_table"), is_default_action=True)
    (own,) = await _entries(primary, default)
    assert own.action == kinds.action("NoAction")
    changed = p4r.TableEntry(table_id=default.table_id, is_default_action=True, metadata=b"m")
    changed.action.CopyFrom(kinds.action("to_port", port=3))
    await primary.write("MODIFY", _entity(changed))
    assert await _entries(primary, default) == [changed]
    assert await _entries(primary, p4r.TableEntry(table_id=default.table_id)) == []
    await primary.write("MODIFY", _entity(default))
    assert await _entries(primary, default) == [own]


async def test_all_default_entries_at_once(primary, kinds):
    found = await _entries(primary, p4r.TableEntry(is_default_action=True))
    assert {entry.table_id for entry in found} == {kinds.table_id(name) for name in kinds.tables}


async def test_const_entries_are_readable_and_marked(primary, kinds):
    found = await _entries(primary, p4r.TableEntry(table_id=kinds.table_id("const_table")))
    assert [(e.match[0].exact.value, e.is_const) for e in found] == [(b"\x08\x00", True), (b"\x86\xdd", True)]


async def test_table_full_is_resource_exhausted(primary, kinds):
    entries = [kinds.entry("exact_table", kinds.action("to_port", port=1), dst=n, port=1) for n in range(17)]
    await primary.write("INSERT", *map(_entity, entries[:16]))
    assert await primary.refused("INSERT", _entity(entries[16])) == (
        "RESOURCE_EXHAUSTED",
        "table 'exact_table' is full: it holds its 16 entries",
    )


async def test_a_batch_goes_on_after_errors_and_reports_each_update(primary, kinds, exact):
    await primary.write("INSERT", _entity(exact))
    bad = kinds.entry("exact_table", kinds.action("drop"), dst=1 << 48, port=1)
    good = kinds.entry("exact_table", kinds.action("drop"), dst=0xC, port=1)
    with pytest.raises(primary.BatchError) as caught:
        await primary.write("INSERT", _entity(exact), _entity(bad), _entity(good))
    assert caught.value.code is grpc.StatusCode.UNKNOWN
    assert caught.value.errors == (
        ("ALREADY_EXISTS", "table 'exact_table' already has an entry dst=0xa, port=0x1"),
        (
            "OUT_OF_RANGE",
            "match field 'dst' of table 'exact_table' value 0x01000000000000 does not fit in 48 bits",
        ),
        ("OK", ""),
    )
    assert await _entries(primary, p4r.TableEntry(table_id=exact.table_id)) == [exact, good]


async def test_a_large_failed_batch_keeps_every_code_within_the_metadata_limit(primary, kinds):
    bad = _entity(kinds.entry("exact_table", dst=1, port=1))
    with pytest.raises(primary.BatchError) as caught:
        await primary.write("INSERT", *[bad] * 700)
    assert {code for code, _ in caught.value.errors} == {"INVALID_ARGUMENT"}
    assert len(caught.value.errors) == 700


async def test_unknown_atomicity(primary):
    with pytest.raises(primary.BatchError) as caught:
        await primary.write_updates([], atomicity=3)
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.message == (
        "atomicity 3 is not valid (valid: CONTINUE_ON_ERROR, ROLLBACK_ON_ERROR, DATAPLANE_ATOMIC)"
    )


async def test_many_entries_are_read_in_chunks(primary, kinds):
    entries = [
        kinds.entry("lpm_table", kinds.action("to_port", port=1), src=(n << 16, 32)) for n in range(1, 1001)
    ]
    await primary.write("INSERT", *map(_entity, entries))
    request = p4r.ReadRequest(device_id=1, entities=[_entity(p4r.TableEntry(table_id=entries[0].table_id))])
    sizes = [len(response.entities) async for response in primary.stub.Read(request)]
    assert (sum(sizes), max(sizes)) == (1000, 500)


async def test_read_reports_each_query_and_still_answers_the_good_ones(primary, exact):
    await primary.write("INSERT", _entity(exact))
    good = _entity(p4r.TableEntry(table_id=exact.table_id))
    with pytest.raises(primary.BatchError) as caught:
        await primary.read(good, p4r.Entity(), p4r.Entity(extern_entry=p4r.ExternEntry(extern_type_id=1)))
    assert [code for code, _ in caught.value.errors] == ["OK", "INVALID_ARGUMENT", "UNIMPLEMENTED"]
    assert caught.value.errors[1][1].startswith("the entity is empty (valid: table_entry, counter_entry, ")


async def test_meter_config_and_counter_data_of_an_entry(primary, kinds, exact):
    exact.meter_config.CopyFrom(p4r.MeterConfig(cir=10, cburst=20, pir=30, pburst=40))
    exact.counter_data.CopyFrom(p4r.CounterData(packet_count=3, byte_count=300))
    await primary.write("INSERT", _entity(exact))
    plain = p4r.TableEntry(table_id=exact.table_id)
    (without,) = await _entries(primary, plain)
    assert not without.HasField("meter_config")
    assert not without.HasField("counter_data")
    plain.meter_config.SetInParent()
    plain.counter_data.SetInParent()
    assert await _entries(primary, plain) == [exact]
    # MODIFY with meter_config unset resets the meter, with counter_data unset keeps the count.
    await primary.write("MODIFY", _entity(kinds.entry("exact_table", exact.action, dst=0xA, port=1)))
    (modified,) = await _entries(primary, plain)
    assert not modified.HasField("meter_config")
    assert modified.counter_data == exact.counter_data


async def test_wildcard_reads_of_what_the_program_does_not_have_are_empty(primary):
    wildcards = [
        p4r.Entity(**{name: {}})
        for name in (
            "action_profile_member",
            "action_profile_group",
            "value_set_entry",
            "register_entry",
            "extern_entry",
        )
    ]
    groups = p4r.Entity(packet_replication_engine_entry={"multicast_group_entry": {}})
    assert await primary.read(*wildcards, groups) == []
