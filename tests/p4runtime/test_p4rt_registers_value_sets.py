# SPDX-License-Identifier: Apache-2.0
"""RegisterEntry and ValueSetEntry."""

from __future__ import annotations

import pytest
from finsy.proto import p4d, p4r

ETHERNET = bytes.fromhex("00000000000a 00000000000b")


def _register(names, index: int | None = None, data: bytes | None = None, name="last_seen") -> p4r.Entity:
    entry = p4r.RegisterEntry(register_id=names.ids[name])
    if index is not None:
        entry.index.index = index
    if data is not None:
        entry.data.bitstring = data
    return p4r.Entity(register_entry=entry)


def _values(entities) -> list[bytes]:
    return [entity.register_entry.data.bitstring for entity in entities]


async def test_a_register_cell_is_written_and_read(everything, names):
    await everything.write("MODIFY", _register(names, 2, b"\x12\x34"))
    assert await everything.read(_register(names, 2)) == [_register(names, 2, b"\x12\x34")]
    assert _values(await everything.read(_register(names))) == [b"\0", b"\0", b"\x12\x34", b"\0"]


async def test_a_register_write_without_index_sets_all_cells(everything, names):
    await everything.write("MODIFY", _register(names, data=b"\0\0\7"))
    assert _values(await everything.read(_register(names))) == [b"\7"] * 4


async def test_register_id_zero_reads_all_registers(everything, names):
    found = await everything.read(p4r.Entity(register_entry=p4r.RegisterEntry()))
    assert [e.register_entry.register_id for e in found] == [names.ids["last_seen"]] * 4 + [
        names.ids["narrow"]
    ] * 2


async def test_the_data_plane_writes_registers_that_a_client_reads(rig, everything, names):
    rig.switch.inject(3, ETHERNET + b"\x08\x06")
    assert await everything.read(_register(names, 3)) == [_register(names, 3, b"\x08\x06")]


async def test_register_errors(everything, names):
    beyond = _register(names, 4, b"\1")
    assert await everything.refused("MODIFY", beyond) == (
        "OUT_OF_RANGE",
        "index 4 is beyond register 'last_seen' (valid: 0 to 3)",
    )
    assert await everything.refused("MODIFY", _register(names, -1, b"\1")) == (
        "INVALID_ARGUMENT",
        "index -1 of register 'last_seen' is negative (valid: 0 to 3)",
    )
    assert await everything.refused("MODIFY", _register(names, 0, b"\2\0", "narrow")) == (
        "OUT_OF_RANGE",
        "register 'narrow' value 0x0200 does not fit in 9 bits",
    )
    assert await everything.refused("MODIFY", _register(names, 0)) == (
        "INVALID_ARGUMENT",
        "register 'last_seen': a write needs data",
    )
    wrong = _register(names, 0)
    wrong.register_entry.data.CopyFrom(p4d.P4Data(bool=True))
    assert await everything.refused("MODIFY", wrong) == (
        "INVALID_ARGUMENT",
        "register 'last_seen' is a bit<32>: it takes 'bitstring', not 'bool'",
    )
    for kind in ("INSERT", "DELETE"):
        assert await everything.refused(kind, _register(names, 0, b"\1")) == (
            "INVALID_ARGUMENT",
            "register 'last_seen' is always there (valid: MODIFY)",
        )
    unknown = p4r.Entity(register_entry=p4r.RegisterEntry(register_id=9))
    assert (await everything.refused("MODIFY", unknown))[1].startswith(
        "register ID 9 is not in the P4Info (valid: "
    )


def _types(names, *values: int) -> p4r.Entity:
    entry = p4r.ValueSetEntry(value_set_id=names.ids["types"])
    for value in values:
        entry.members.add().match.add(field_id=1).exact.value = value.to_bytes(2, "big")
    return p4r.Entity(value_set_entry=entry)


def _links(names, *members: tuple[int, tuple[int, int] | None]) -> p4r.Entity:
    entry = p4r.ValueSetEntry(value_set_id=names.ids["links"])
    for ether_type, source in members:
        member = entry.members.add()
        member.match.add(field_id=1).exact.value = ether_type.to_bytes(2, "big")
        if source is not None:
            match = member.match.add(field_id=2)
            match.ternary.value, match.ternary.mask = bytes([source[0]]), bytes([source[1]])
    return p4r.Entity(value_set_entry=entry)


async def test_a_value_set_is_replaced_whole_and_read(everything, names):
    await everything.write("MODIFY", _types(names, 0x8100, 0x9100))
    await everything.write("MODIFY", _types(names, 0x22F3))
    await everything.write("MODIFY", _links(names, (0x806, (0x0B, 0x0F)), (0x807, None)))
    assert await everything.read(_types(names)) == [_types(names, 0x22F3)]
    everything_there = await everything.read(p4r.Entity(value_set_entry=p4r.ValueSetEntry()))
    assert everything_there == [_types(names, 0x22F3), _links(names, (0x806, (0x0B, 0x0F)), (0x807, None))]
    await everything.write("MODIFY", _types(names))
    assert await everything.read(_types(names)) == [_types(names)]


@pytest.mark.parametrize(("source", "is_member"), [(b"\x0b", True), (b"\x0c", False)])
async def test_the_parser_selects_by_the_value_set(rig, everything, names, source, is_member):
    """entities.p4 sends what is in a value set to port 4, and the rest elsewhere or nowhere."""
    await everything.write("MODIFY", _links(names, (0x806, (0x0B, 0x0F))))
    rig.switch.inject(1, bytes(6) + bytes(5) + source + b"\x08\x06")
    assert bool(rig.ports[4].sent) is is_member


async def test_value_set_errors(everything, names):
    assert await everything.refused("MODIFY", _types(names, 1, 2, 3)) == (
        "RESOURCE_EXHAUSTED",
        "value set 'types' holds 2 members, not 3",
    )
    assert await everything.refused("MODIFY", _types(names, 1, 1)) == (
        "ALREADY_EXISTS",
        "value set 'types' has the member field 1=0x1 twice",
    )
    assert await everything.refused("INSERT", _types(names, 1)) == (
        "INVALID_ARGUMENT",
        "value set 'types' is always there (valid: MODIFY)",
    )
    wrong = _links(names, (1, None))
    wrong.value_set_entry.members[0].match[0].field_id = 7
    assert await everything.refused("MODIFY", wrong) == (
        "INVALID_ARGUMENT",
        "match field ID 7 is not a key of value set 'links' (valid: 'ether_type' (ID 1), 'src' (ID 2))",
    )
    missing = _links(names, (1, (1, 1)))
    del missing.value_set_entry.members[0].match[0]
    assert await everything.refused("MODIFY", missing) == (
        "INVALID_ARGUMENT",
        "value set 'links' needs a value for every exact key, missing: 'ether_type' (ID 1)",
    )
