# SPDX-License-Identifier: Apache-2.0
"""Requests that are applied as they came in, and runs of updates at once, do what their updates do one by one."""

from __future__ import annotations

from pathlib import Path

import pytest
from finsy.proto import p4i, p4r
from google.protobuf import text_format
from google.protobuf.message import DecodeError
from hvchannel_softswitch.p4runtime.batches import split
from hvchannel_softswitch.p4runtime.device import SwitchDevice
from hvchannel_softswitch.p4runtime.errors import P4RuntimeError
from hvchannel_softswitch.p4runtime.pipeline import Pipeline, build_pipeline
from hvchannel_softswitch.p4runtime.updates import apply_batch, apply_update, read_entities
from hvchannel_softswitch.switch import Switch
from hypothesis import given, settings
from hypothesis import strategies as st

_PROGRAMS = Path(__file__).parent / "programs"
_INFO = text_format.Parse((_PROGRAMS / "kinds.p4info.txtpb").read_text(), p4i.P4Info())
_TABLES = {table.preamble.alias: table for table in _INFO.tables}
_ACTION = next(action for action in _INFO.actions if action.preamble.alias == "to_port")
_EVERYTHING = p4r.Entity(table_entry=p4r.TableEntry())


def _pipeline() -> Pipeline:
    config = p4r.ForwardingPipelineConfig(
        p4info=_INFO, p4_device_config=(_PROGRAMS / "kinds.json").read_bytes()
    )
    return build_pipeline(SwitchDevice(Switch([], cpu_port=510)), config, lambda *_: None)


def _update(table: str, *matches: p4r.FieldMatch, port: bytes, kind: str = "INSERT") -> p4r.Update:
    entry = p4r.TableEntry(table_id=_TABLES[table].preamble.id, match=matches)
    entry.action.action.action_id = _ACTION.preamble.id
    entry.action.action.params.add(param_id=_ACTION.params[0].id, value=port)
    return p4r.Update(type=p4r.Update.Type.Value(kind), entity=p4r.Entity(table_entry=entry))


def _exact(dst: int, port: int = 1, *, argument: int = 2, kind: str = "INSERT") -> p4r.Update:
    ids = {field.name: field.id for field in _TABLES["exact_table"].match_fields}
    matches = [
        p4r.FieldMatch(field_id=ids[name], exact=p4r.FieldMatch.Exact(value=value))
        for name, value in (("dst", dst.to_bytes(2, "big")), ("port", port.to_bytes(2, "big")))
    ]
    return _update("exact_table", *matches, port=argument.to_bytes(2, "big"), kind=kind)


def _lpm(value: int, length: int) -> p4r.Update:
    (field,) = _TABLES["lpm_table"].match_fields
    lpm = p4r.FieldMatch.LPM(value=value.to_bytes(6, "big"), prefix_len=length)
    return _update("lpm_table", p4r.FieldMatch(field_id=field.id, lpm=lpm), port=b"\2")


def _one_by_one(pipeline: Pipeline, updates: list[p4r.Update]) -> list[tuple[str, str] | None]:
    outcomes: list[tuple[str, str] | None] = []
    for update in updates:
        try:
            apply_update(pipeline, update)
            outcomes.append(None)
        except P4RuntimeError as error:
            outcomes.append((error.code.name, error.message))
    return outcomes


# Long runs of updates that are alike, with here and there one that is refused: there already, a value with too many
# bits, bits after a prefix, another kind of update.
_some = st.one_of(
    st.builds(
        lambda first, count: [_exact(n) for n in range(first, first + count)],
        st.integers(0, 60),
        st.integers(0, 40),
    ),
    st.builds(
        lambda *a: [_exact(*a[:2], argument=a[2])],
        st.integers(0, 99),
        st.integers(0, 600),
        st.integers(0, 600),
    ),
    st.builds(
        lambda n, kind: [_exact(n, kind=kind)], st.integers(0, 99), st.sampled_from(["DELETE", "MODIFY"])
    ),
    st.builds(
        lambda values, length: [_lpm(value << 32, length) for value in values],
        st.lists(st.integers(0, 2**16 - 1), max_size=20),
        st.integers(10, 20),
    ),
)
_updates = st.lists(_some, max_size=8).map(lambda lists: [update for some in lists for update in some])


@settings(deadline=None)
@given(st.lists(_updates, min_size=1, max_size=3))
def test_batches_do_what_their_updates_do_one_by_one(batches):
    plain, quick = _pipeline(), _pipeline()
    for updates in batches:
        expected = _one_by_one(plain, updates)
        batch = split(p4r.WriteRequest(device_id=1, updates=updates).SerializeToString())
        assert batch is not None
        errors = apply_batch(quick, batch) or [None] * len(updates)
        assert [error and (error.code.name, error.message) for error in errors] == expected
    assert read_entities(quick, _EVERYTHING) == read_entities(plain, _EVERYTHING)


def test_a_long_run_takes_the_short_way(monkeypatch):
    pipeline = _pipeline()
    first = split(p4r.WriteRequest(updates=[_exact(1)]).SerializeToString())
    assert first is not None
    assert apply_batch(pipeline, first) is None
    monkeypatch.setattr(p4r.Update, "FromString", None, raising=False)
    monkeypatch.setattr(pipeline.shapes, "insert", None, raising=False)
    many = split(p4r.WriteRequest(updates=[_exact(n) for n in range(2, 14)]).SerializeToString())
    assert many is not None
    assert apply_batch(pipeline, many) is None
    table = p4r.TableEntry(table_id=_TABLES["exact_table"].preamble.id)
    assert len(read_entities(pipeline, p4r.Entity(table_entry=table))) == 13


@given(
    st.lists(st.integers(0, 3).map(lambda size: bytes(100 * size)), max_size=40),
    st.integers(0, 2**64 - 1),
    st.text(max_size=5),
    st.integers(0, 2**64 - 1),
)
def test_a_request_is_its_updates_and_what_surrounds_them(metadata, device_id, role, election):
    request = p4r.WriteRequest(
        device_id=device_id, role=role, election_id=p4r.Uint128(low=election), atomicity=1
    )
    for data in metadata:
        request.updates.add().entity.table_entry.metadata = data
    batch = split(request.SerializeToString())
    assert batch is not None
    updates = [data for run in batch.runs for data in run.updates()]
    assert updates == [update.SerializeToString() for update in request.updates]
    assert sum(run.size for run in batch.runs) == len(updates)
    request.ClearField("updates")
    assert batch.request == request


_pieces = st.sampled_from(
    [
        b"\x08\x01",
        b"\x22\x02\x08\x01",
        b"\x22\x82\x00\x08\x01",
        b"\x22\x00",
        b"\x28\x01",
        b"\x1a\x02\x10\x01",
        b"\x13\x14",
        b"\x22",
        b"\x80" * 12,
        b"\x22\xff\xff\xff\xff\x0f",
    ]
)


@settings(max_examples=400)
@given(st.lists(_pieces, max_size=8).map(b"".join) | st.binary(max_size=40))
def test_any_bytes_are_split_rightly_or_not_at_all(data):
    batch = split(data)
    if batch is None:
        return
    rebuilt = p4r.WriteRequest()
    rebuilt.CopyFrom(batch.request)
    try:
        for run in batch.runs:
            for update in run.updates():
                rebuilt.updates.add().MergeFromString(update)
    except DecodeError:
        with pytest.raises(DecodeError):
            p4r.WriteRequest.FromString(data)
    else:
        assert rebuilt == p4r.WriteRequest.FromString(data)


def test_of_a_request_with_updates_that_are_none_nothing_is_applied():
    pipeline = _pipeline()
    first = split(p4r.WriteRequest(updates=[_exact(1)]).SerializeToString())
    assert first is not None
    assert apply_batch(pipeline, first) is None
    before = read_entities(pipeline, _EVERYTHING)
    whole = p4r.WriteRequest(updates=[_exact(n) for n in range(2, 30)]).SerializeToString()
    broken = split(whole + b"\x22\x03\x0a\x05\x01")
    assert broken is not None
    with pytest.raises(DecodeError):
        apply_batch(pipeline, broken)
    assert read_entities(pipeline, _EVERYTHING) == before


async def test_a_request_that_no_serialiser_wrote_is_applied_as_well(primary):
    # Two updates with the election id between them, and a device id at the end.
    ones = [p4r.WriteRequest(updates=[_exact(n)]).SerializeToString() for n in (1, 2)]
    election = p4r.WriteRequest(election_id=p4r.Uint128(low=1)).SerializeToString()
    data = ones[0] + election + ones[1] + p4r.WriteRequest(device_id=1).SerializeToString()
    assert split(data) is None
    write = primary.channel.unary_unary("/p4.v1.P4Runtime/Write")
    assert await write(data, timeout=10) == b""
    wanted = p4r.Entity(table_entry=p4r.TableEntry(table_id=_TABLES["exact_table"].preamble.id))
    assert len(await primary.read(wanted)) == 2


async def test_bytes_that_are_no_request_are_refused(primary):
    write = primary.channel.unary_unary("/p4.v1.P4Runtime/Write")
    claim = p4r.WriteRequest(device_id=1, election_id=p4r.Uint128(low=1)).SerializeToString()
    for data in (b"\x0a\xff", claim + b"\x22\x03\x0a\x05\x01"):
        with pytest.raises(Exception, match="the request is no WriteRequest"):
            await write(data, timeout=10)
