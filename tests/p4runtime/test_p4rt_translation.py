# SPDX-License-Identifier: Apache-2.0
"""@p4runtime_translation: ports that the controller numbers in 32 bits, networks that it names."""

from __future__ import annotations

import asyncio

import pytest
from finsy.proto import p4i, p4r
from hvchannel_softswitch.p4runtime.errors import P4RuntimeError
from hvchannel_softswitch.p4runtime.mappings import MappingError, load_mappings
from hvchannel_softswitch.p4runtime.translations import Translations
from hypothesis import given
from hypothesis import strategies as st

FRAME = bytes.fromhex("00000000000a 00000000000b 0800")
SDN_PORT = 0xABC00001
CPU = 0xFFFFFFFD


@pytest.fixture
async def translated(client, config_of):
    await client.claim(1)
    await client.set_pipeline(config_of("translated"))
    return client


class _Ids:
    def __init__(self, config) -> None:
        self.tables = {t.preamble.alias: t.preamble.id for t in config.p4info.tables}
        self.actions = {a.preamble.alias: a.preamble.id for a in config.p4info.actions}


@pytest.fixture
def ids(config_of):
    return _Ids(config_of("translated"))


def _entry(
    ids, table: str, action: str, params=(), match=(), ternary: tuple[bytes, bytes] | None = None
) -> p4r.Entity:
    entry = p4r.TableEntry(table_id=ids.tables[table])
    for number, value in match:
        entry.match.add(field_id=number).exact.value = value
    if ternary:
        field = entry.match.add(field_id=3)
        field.ternary.value, field.ternary.mask = ternary
    if table == "forward_table":
        entry.priority = 1
    entry.action.action.action_id = ids.actions[action]
    for number, value in params:
        entry.action.action.params.add(param_id=number, value=value)
    return p4r.Entity(table_entry=entry)


def _journey(ids, port_in: bytes, network: bytes, port_out: bytes) -> list[p4r.Entity]:
    return [
        _entry(ids, "network_table", "join_network", [(1, network)], [(1, port_in)]),
        _entry(
            ids,
            "forward_table",
            "to_port",
            [(1, port_out)],
            [(1, network), (2, b"\x0a")],
            (port_in, b"\xff\xff\xff\xff"),
        ),
    ]


class TestWithoutAMapping:
    async def test_strings_get_numbers_and_numbers_stand_for_themselves(self, rig, translated, ids):
        entities = _journey(ids, b"\1", b"blue", b"\2")
        await translated.write("INSERT", *entities)
        rig.switch.inject(1, FRAME)
        assert rig.ports[2].sent == [FRAME]
        assert [e for entity in entities for e in await translated.read(entity)] == entities

    async def test_a_number_that_the_data_plane_has_no_room_for(self, translated, ids):
        code, message = await translated.refused(
            "INSERT", _entry(ids, "network_table", "drop", match=[(1, b"\x02\x00")])
        )
        assert (code, message) == (
            "OUT_OF_RANGE",
            "match field 'port' of table 'network_table' value 512 is 512 in the data plane, which does not fit in its "
            "9 bits (translation 'example.org/port')",
        )

    async def test_only_whole_values_match(self, translated, ids):
        entity = _entry(ids, "forward_table", "drop", match=[(1, b"x"), (2, b"\1")], ternary=(b"\1", b"\xff"))
        assert await translated.refused("INSERT", entity) == (
            "INVALID_ARGUMENT",
            "match field 'port' of table 'forward_table' is translated, so it takes whole values only: mask 0xff "
            "(valid: 0xffffffff)",
        )

    @pytest.mark.parametrize(
        ("name", "code", "message"),
        [
            (
                b"",
                "OUT_OF_RANGE",
                "parameter 'network' of action 'join_network' is an empty string; a translated string has a name",
            ),
            (
                b"\xff",
                "INVALID_ARGUMENT",
                "parameter 'network' of action 'join_network' is a translated string, but 0xff is not UTF-8",
            ),
        ],
    )
    async def test_strings_are_names(self, translated, ids, name, code, message):
        entity = _entry(ids, "network_table", "join_network", [(1, name)], [(1, b"\1")])
        assert await translated.refused("INSERT", entity) == (code, message)


class TestWithAMapping:
    @pytest.fixture
    def mappings(self):
        ports = {SDN_PORT + number: number + 1 for number in range(4)}
        return {"example.org/port": {**ports, CPU: 510}, "example.org/network": {"blue": 7}}

    async def test_values_are_translated_both_ways(self, rig, translated, ids):
        port_in, port_out = SDN_PORT.to_bytes(4, "big"), (SDN_PORT + 1).to_bytes(4, "big")
        entities = _journey(ids, port_in, b"blue", port_out)
        await translated.write("INSERT", *entities)
        rig.switch.inject(1, FRAME)
        assert rig.ports[2].sent == [FRAME]
        assert [e for entity in entities for e in await translated.read(entity)] == entities

    async def test_packet_metadata_is_translated(self, rig, translated, ids):
        to_port_3 = (SDN_PORT + 2).to_bytes(4, "big")
        packet = p4r.PacketOut(payload=FRAME, metadata=[p4r.PacketMetadata(metadata_id=1, value=to_port_3)])
        await translated.send(p4r.StreamMessageRequest(packet=packet))
        await asyncio.wait_for(rig.ports[3].has_sent.wait(), 3)
        assert rig.ports[3].sent == [FRAME]
        everything_of_blue = _entry(ids, "forward_table", "to_controller", match=[(1, b"blue"), (2, b"\x0a")])
        joins = _entry(
            ids, "network_table", "join_network", [(1, b"blue")], [(1, SDN_PORT.to_bytes(4, "big"))]
        )
        await translated.write("INSERT", joins, everything_of_blue)
        rig.switch.inject(1, FRAME)
        received = (await translated.receive()).packet
        assert received.payload == FRAME
        assert [m.value for m in received.metadata] == [SDN_PORT.to_bytes(4, "big")]

    async def test_a_value_that_is_not_in_the_mapping(self, translated, ids):
        entity = _entry(ids, "network_table", "join_network", [(1, b"red")], [(1, b"\1")])
        assert await translated.refused("INSERT", entity) == (
            "INVALID_ARGUMENT",
            "match field 'port' of table 'network_table' value 1 is not in translation 'example.org/port' "
            "(valid: 2881486849, 2881486850, 2881486851, 2881486852, 4294967293)",
        )


@given(st.lists(st.text(min_size=1, max_size=3), max_size=12), st.lists(st.integers(0, 15), max_size=6))
def test_names_and_numbers_stay_one_to_one(names, values):
    """Whatever is written, and whatever numbers the data plane comes up with."""
    translation = Translations().of("u", None)
    seen: dict[str, int] = {}
    for name in names:
        try:
            value = translation.decode(name.encode(), 4, "x")
        except P4RuntimeError as error:
            assert error.code.name == "RESOURCE_EXHAUSTED"
            continue
        assert seen.setdefault(name, value) == value
    assert len(set(seen.values())) == len(seen)
    for value in [*seen.values(), *values]:
        assert translation.decode(translation.encode(value), 4, "x") == value


def test_strings_match_whole_only(config_of):
    from hvchannel_softswitch.p4runtime.pipeline import verify

    config = config_of("translated")
    config.p4info.tables[1].match_fields[0].match_type = p4i.MatchField.LPM
    with pytest.raises(P4RuntimeError) as caught:
        verify(config)
    assert caught.value.message == (
        "key 'network' of table 'forward_table' is a translated string, which cannot be matched by lpm "
        "(valid: exact, optional)"
    )


def test_mappings_from_a_file(tmp_path):
    file = tmp_path / "mappings.json"
    file.write_text('{"ports": {"0x101": 1, "258": 2}, "networks": {"blue": 7}}')
    translations = Translations(load_mappings(file))
    assert translations.of("ports", 32).decode(b"\1\1", 9, "x") == 1
    assert translations.of("ports", 32).encode(2) == b"\1\2"
    assert translations.of("networks", None).decode(b"blue", 12, "x") == 7
    with pytest.raises(P4RuntimeError) as caught:
        translations.of("networks", 32)
    assert caught.value.message == "translation 'networks' is of numbers here, but has 'blue' configured"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", 'not an object (valid: {"URI": {"SDN value": data plane value}})'),
        ('{"u": 1}', "'u': not an object (valid: {\"SDN value\": data plane value})"),
        ('{"u": {"a": -1}}', "'u': 'a' has the data plane value -1 (valid: 0 or more)"),
        ('{"u": {"a": 1, "b": 1}}', "'u': the data plane value 1 is given twice"),
    ],
)
def test_files_that_are_no_mappings(tmp_path, text, message):
    file = tmp_path / "mappings.json"
    file.write_text(text)
    with pytest.raises(MappingError) as caught:
        load_mappings(file)
    assert str(caught.value) == f"{file}: {message}"
