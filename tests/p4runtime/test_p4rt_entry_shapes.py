# SPDX-License-Identifier: Apache-2.0
"""Insertions that are recognised by their shape do just what they would do one by one."""

from __future__ import annotations

from pathlib import Path

import pytest
from finsy.proto import p4i, p4r
from google.protobuf import text_format
from hvchannel_softswitch.p4runtime.device import SwitchDevice
from hvchannel_softswitch.p4runtime.entry_shapes import SHAPES_PER_LENGTH
from hvchannel_softswitch.p4runtime.errors import P4RuntimeError
from hvchannel_softswitch.p4runtime.pipeline import Pipeline, build_pipeline
from hvchannel_softswitch.p4runtime.updates import apply_each, apply_update, read_entities
from hvchannel_softswitch.p4runtime.wire import elements
from hvchannel_softswitch.switch import Switch
from hypothesis import given, settings
from hypothesis import strategies as st

_PROGRAMS = Path(__file__).parent / "programs"
_INFO = text_format.Parse((_PROGRAMS / "kinds.p4info.txtpb").read_text(), p4i.P4Info())
_TABLES = {table.preamble.alias: table for table in _INFO.tables}
_ACTION = next(action for action in _INFO.actions if action.preamble.alias == "to_port")
_UPDATES = p4r.WriteRequest.UPDATES_FIELD_NUMBER


def _pipeline() -> Pipeline:
    config = p4r.ForwardingPipelineConfig(
        p4info=_INFO, p4_device_config=(_PROGRAMS / "kinds.json").read_bytes()
    )
    return build_pipeline(SwitchDevice(Switch([], cpu_port=510)), config, lambda *_: None)


def _insertion(table: str, *matches: p4r.FieldMatch, port: bytes = b"\x02") -> p4r.Update:
    entry = p4r.TableEntry(table_id=_TABLES[table].preamble.id, match=matches)
    entry.action.action.action_id = _ACTION.preamble.id
    entry.action.action.params.add(param_id=_ACTION.params[0].id, value=port)
    return p4r.Update(type=p4r.Update.INSERT, entity=p4r.Entity(table_entry=entry))


def _exact(dst: bytes, port: bytes, *, swap: bool = False, argument: bytes = b"\x02") -> p4r.Update:
    ids = {field.name: field.id for field in _TABLES["exact_table"].match_fields}
    matches = [
        p4r.FieldMatch(field_id=ids[name], exact=p4r.FieldMatch.Exact(value=value))
        for name, value in (("dst", dst), ("port", port))
    ]
    return _insertion("exact_table", *(reversed(matches) if swap else matches), port=argument)


def _lpm(value: bytes, length: int) -> p4r.Update:
    (field,) = _TABLES["lpm_table"].match_fields
    lpm = p4r.FieldMatch.LPM(value=value, prefix_len=length)
    return _insertion("lpm_table", p4r.FieldMatch(field_id=field.id, lpm=lpm))


def _one_by_one(pipeline: Pipeline, updates: list[p4r.Update]) -> list[tuple[str, str] | None]:
    outcomes: list[tuple[str, str] | None] = []
    for update in updates:
        try:
            apply_update(pipeline, update)
            outcomes.append(None)
        except P4RuntimeError as error:
            outcomes.append((error.code.name, error.message))
    return outcomes


_values = st.binary(max_size=7) | st.sampled_from([b"\x01", b"\x02", b"\x00\x01", b"\xff\xff"])
_updates = st.one_of(
    st.builds(_exact, _values, _values, swap=st.booleans(), argument=_values),
    st.builds(
        _lpm,
        st.sampled_from([b"\xaa\0\0\0\0\0", b"\xab\xcd\0\0\0\0", b"\x01"]) | _values,
        st.integers(-1, 130),
    ),
)


@settings(deadline=None)
@given(st.lists(_updates, max_size=30))
def test_a_batch_does_what_its_updates_do_one_by_one(updates):
    plain, shaped = _pipeline(), _pipeline()
    expected = _one_by_one(plain, updates)
    errors = apply_each(shaped, p4r.WriteRequest(updates=updates)) or [None] * len(updates)
    assert [error and (error.code.name, error.message) for error in errors] == expected
    everything = p4r.Entity(table_entry=p4r.TableEntry())
    assert read_entities(shaped, everything) == read_entities(plain, everything)


def test_the_second_of_a_shape_is_recognised():
    pipeline = _pipeline()
    first, second = _exact(b"\x0a", b"\x01"), _exact(b"\x0b", b"\x02", argument=b"\x03")
    assert not pipeline.shapes.insert(first.SerializeToString())
    assert apply_each(pipeline, p4r.WriteRequest(updates=[first])) is None
    assert pipeline.shapes.insert(second.SerializeToString())
    assert not pipeline.shapes.insert(second.SerializeToString()), "it is there already"


def test_prefixes_of_all_lengths_share_a_shape():
    pipeline = _pipeline()
    assert apply_each(pipeline, p4r.WriteRequest(updates=[_lpm(b"\xaa\0\0\0\0\0", 8)])) is None
    assert pipeline.shapes.insert(_lpm(b"\xab\xcd\0\0\0\0", 16).SerializeToString())
    assert not pipeline.shapes.insert(_lpm(b"\xab\xcd\0\0\0\0", 12).SerializeToString()), (
        "bits after the prefix"
    )


def test_other_fields_are_another_shape():
    pipeline = _pipeline()
    assert apply_each(pipeline, p4r.WriteRequest(updates=[_exact(b"\x0a", b"\x01")])) is None
    with_cookie = _exact(b"\x0b", b"\x01")
    with_cookie.entity.table_entry.metadata = b"cookie"
    assert apply_each(pipeline, p4r.WriteRequest(updates=[with_cookie])) is None
    assert not pipeline.shapes.insert(with_cookie.SerializeToString())
    (entity,) = read_entities(
        pipeline,
        p4r.Entity(
            table_entry=p4r.TableEntry(table_id=_TABLES["exact_table"].preamble.id, metadata=b"cookie")
        ),
    )
    assert entity.table_entry.metadata == b"cookie"


def test_many_shapes_of_one_length_do_not_pile_up():
    pipeline, count = _pipeline(), 2 * SHAPES_PER_LENGTH
    updates = [_exact(bytes([number]).rjust(number, b"\0"), bytes(30 - number)) for number in range(1, count)]
    assert len({update.ByteSize() for update in updates}) == 1
    assert apply_each(pipeline, p4r.WriteRequest(updates=updates)) is None
    for update in updates:
        update.type = p4r.Update.DELETE
    assert apply_each(pipeline, p4r.WriteRequest(updates=updates)) is None
    again = [
        _exact(bytes([number + 100]).rjust(number, b"\0"), bytes(30 - number)) for number in range(1, count)
    ]
    known = [pipeline.shapes.insert(update.SerializeToString()) for update in again]
    assert known == [False] * (count - 1 - SHAPES_PER_LENGTH) + [True] * SHAPES_PER_LENGTH


@pytest.mark.parametrize("unknown", [b"\xf8\x01\x05", b"\xfb\x01\x08\x01\xfc\x01"], ids=["varint", "group"])
def test_fields_of_another_version_are_passed_over(unknown):
    pipeline = _pipeline()
    first, second = _exact(b"\x0a", b"\x01"), _exact(b"\x0b", b"\x01")
    for update in (first, second):
        update.entity.table_entry.match[0].exact.MergeFromString(unknown)
    request = p4r.WriteRequest(updates=[first, second])
    request.MergeFromString(unknown)
    assert apply_each(pipeline, request) is None
    third = _exact(b"\x0c", b"\x01")
    third.entity.table_entry.match[0].exact.MergeFromString(unknown)
    assert not pipeline.shapes.insert(third.SerializeToString())


@given(st.lists(st.binary(max_size=300)), st.integers(0, 2**64 - 1), st.text(max_size=5))
def test_elements_are_the_serialised_updates(metadata, device_id, role):
    request = p4r.WriteRequest(device_id=device_id, role=role, election_id=p4r.Uint128(low=1))
    for data in metadata:
        request.updates.add().entity.table_entry.metadata = data
    expected = [update.SerializeToString() for update in request.updates]
    assert elements(request.SerializeToString(), _UPDATES) == expected
