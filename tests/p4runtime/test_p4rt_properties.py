# SPDX-License-Identifier: Apache-2.0
"""Invariants over random input: bytestrings, match keys, packet headers, and Write followed by Read."""

from __future__ import annotations

from pathlib import Path

import pytest
from finsy.proto import p4i, p4r
from google.protobuf import text_format
from hvchannel_softswitch import model
from hvchannel_softswitch.engine import EntryKey, Exact, Lpm, Range, Ternary
from hvchannel_softswitch.p4runtime.device import SwitchDevice
from hvchannel_softswitch.p4runtime.errors import P4RuntimeError
from hvchannel_softswitch.p4runtime.matches import decode_key, encode_key
from hvchannel_softswitch.p4runtime.p4info import PacketField
from hvchannel_softswitch.p4runtime.packet_io import packet_in_message, packet_out_frame
from hvchannel_softswitch.p4runtime.pipeline import Pipeline, build_pipeline, verify
from hvchannel_softswitch.p4runtime.updates import apply_update, read_entities
from hvchannel_softswitch.p4runtime.values import signed_to_bytes, to_bytes, to_int
from hvchannel_softswitch.switch import Switch
from hypothesis import given, settings
from hypothesis import strategies as st

_PROGRAMS = Path(__file__).parent / "programs"
_MAC = 2**48 - 1


def _config() -> p4r.ForwardingPipelineConfig:
    info = text_format.Parse((_PROGRAMS / "kinds.p4info.txtpb").read_text(), p4i.P4Info())
    return p4r.ForwardingPipelineConfig(p4info=info, p4_device_config=(_PROGRAMS / "kinds.json").read_bytes())


_CONFIG = _config()
_PROGRAM = verify(_CONFIG).info
_TABLES = {table.name: table for table in _PROGRAM.tables.values()}


@given(st.integers(0, 2**128 - 1), st.integers(0, 5))
def test_bytestrings_round_trip_and_are_shortest(value, zeros):
    data = to_bytes(value)
    assert to_int(bytes(zeros) + data, 128, "x") == value
    assert len(data) == 1 or data[0] != 0


@given(st.integers(1, 80), st.integers(0, 2**80 - 1))
def test_bytestrings_fit_or_are_refused(width, value):
    if value.bit_length() <= width:
        assert to_int(to_bytes(value), width, "x") == value
    else:
        with pytest.raises(P4RuntimeError, match=f"does not fit in {width} bits"):
            to_int(to_bytes(value), width, "x")


@given(st.integers(-(2**79), 2**79 - 1))
def test_signed_bytestrings_are_shortest_twos_complement(value):
    data = signed_to_bytes(value)
    assert int.from_bytes(data, "big", signed=True) == value
    shorter = 8 * (len(data) - 1)
    assert shorter == 0 or not -(1 << (shorter - 1)) <= value < 1 << (shorter - 1)


def _lpm(width: int) -> st.SearchStrategy[Lpm]:
    return st.builds(
        lambda value, length: Lpm(value >> (width - length) << (width - length), length),
        st.integers(0, 2**width - 1),
        st.integers(0, width),
    )


def _ternary(width: int) -> st.SearchStrategy[Ternary]:
    numbers = st.integers(0, 2**width - 1)
    return st.builds(lambda value, mask: Ternary(value & mask, mask), numbers, numbers)


def _range(width: int) -> st.SearchStrategy[Range]:
    numbers = st.integers(0, 2**width - 1)
    return st.builds(lambda one, two: Range(min(one, two), max(one, two)), numbers, numbers)


_OPTIONAL = st.one_of(
    st.just(Ternary(0, 0)), st.builds(lambda value: Ternary(value, 511), st.integers(0, 511))
)
_KEYS: dict[str, st.SearchStrategy[EntryKey]] = {
    "exact_table": st.builds(
        lambda dst, port: EntryKey((Exact(dst), Exact(port))), st.integers(0, _MAC), st.integers(0, 511)
    ),
    "lpm_table": st.builds(lambda match: EntryKey((match,)), _lpm(48)),
    "ternary_table": st.builds(
        lambda dst, kind, port, priority: EntryKey((dst, kind, port), priority),
        _ternary(48),
        _range(16),
        _OPTIONAL,
        st.integers(1, 2**31 - 1),
    ),
}
_NAMED_KEYS = st.sampled_from(sorted(_KEYS)).flatmap(lambda name: st.tuples(st.just(name), _KEYS[name]))


@given(_NAMED_KEYS)
def test_keys_round_trip(named_key):
    name, key = named_key
    table = _TABLES[name]
    wire = encode_key(table, key)
    assert decode_key(table, wire, key.priority) == key
    assert [match.field_id for match in wire] == sorted(match.field_id for match in wire)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.data(), st.binary(max_size=20))
def test_packet_headers_round_trip(widths, data, payload):
    widths.append(-sum(widths) % 8 or 8)
    header = tuple(PacketField(number, f"f{number}", width) for number, width in enumerate(widths, 1))
    packet = p4r.PacketOut(payload=payload)
    for field in data.draw(st.permutations(header)):
        value = data.draw(st.integers(0, 2**field.width - 1))
        packet.metadata.add(metadata_id=field.id, value=to_bytes(value))
    received = packet_in_message(header, packet_out_frame(header, packet))
    assert received is not None
    assert received.payload == payload
    assert list(received.metadata) == sorted(packet.metadata, key=lambda m: m.metadata_id)


def test_a_frame_shorter_than_its_header_is_no_packet_in():
    assert packet_in_message((PacketField(1, "f", 16),), b"x") is None


def _pipeline() -> Pipeline:
    return build_pipeline(SwitchDevice(Switch([])), _CONFIG, lambda digests: True)


def _update(kind: str, name: str, key: EntryKey, port: int) -> p4r.Update:
    table = _TABLES[name]
    entry = p4r.TableEntry(table_id=table.id, match=encode_key(table, key), priority=key.priority)
    action = next(action for action, _ in table.actions.values() if action.name == "to_port")
    entry.action.action.action_id = action.id
    entry.action.action.params.add(param_id=1, value=to_bytes(port))
    return p4r.Update(type=p4r.Update.Type.Value(kind), entity=p4r.Entity(table_entry=entry))


_KINDS = st.sampled_from(["INSERT", "MODIFY", "DELETE"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(_KINDS, st.integers(0, 7), st.integers(0, 511)), max_size=40), st.data())
def test_reads_equal_what_the_writes_left(steps, data):
    """Against a plain dictionary, with few keys so that they meet often."""
    pipeline = _pipeline()
    keys = data.draw(st.lists(_NAMED_KEYS, min_size=8, max_size=8, unique_by=lambda named: named))
    expected: dict[tuple[str, EntryKey], p4r.TableEntry] = {}
    for kind, which, port in steps:
        name, key = keys[which]
        update = _update(kind, name, key, port)
        is_there = (name, key) in expected
        if (kind == "INSERT") == is_there:
            with pytest.raises(P4RuntimeError) as caught:
                apply_update(pipeline, update)
            assert caught.value.code.name == ("ALREADY_EXISTS" if is_there else "NOT_FOUND")
        else:
            apply_update(pipeline, update)
            if kind == "DELETE":
                del expected[name, key]
            else:
                expected[name, key] = update.entity.table_entry
    found = [e.table_entry for e in read_entities(pipeline, p4r.Entity(table_entry=p4r.TableEntry()))]
    by_bytes = sorted(entry.SerializeToString() for entry in found if not entry.is_const)
    assert by_bytes == sorted(entry.SerializeToString() for entry in expected.values())


def test_the_programs_json_is_what_the_model_takes():
    assert set(model.load(_CONFIG.p4_device_config).learn_lists) == {"seen_t"}
