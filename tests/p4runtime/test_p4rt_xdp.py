# SPDX-License-Identifier: Apache-2.0
"""The server over tables in an arena: what it answers is what it answers over the interpreter, and what only an arena
cannot hold is refused with nothing changed."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from finsy.proto import p4i, p4r
from google.protobuf import text_format
from hvchannel_softswitch.p4runtime.atomic import apply_all_or_none
from hvchannel_softswitch.p4runtime.device import Loaded, SwitchDevice
from hvchannel_softswitch.p4runtime.pipeline import build_pipeline
from hvchannel_softswitch.p4runtime.reconcile import carry_over
from hvchannel_softswitch.p4runtime.updates import apply_each, read_entities
from hvchannel_softswitch.p4runtime.values import to_bytes
from hvchannel_softswitch.switch import Switch
from hvchannel_softswitch.xdp.engine import XdpEngine
from hvchannel_softswitch.xdp.layout import hash_words, lay_out
from hypothesis import given, settings
from hypothesis import strategies as st

_PROGRAMS = Path(__file__).parent / "programs"
_CONFIG = p4r.ForwardingPipelineConfig(
    p4info=text_format.Parse((_PROGRAMS / "kinds.p4info.txtpb").read_text(), p4i.P4Info()),
    p4_device_config=(_PROGRAMS / "kinds.json").read_bytes(),
)
_TABLES = {table.preamble.alias: table for table in _CONFIG.p4info.tables if table.match_fields}
_TO_PORT = next(action.preamble.id for action in _CONFIG.p4info.actions if action.preamble.alias == "to_port")


class ArenaDevice:
    """Loads programs into plain memory; no frame ever runs."""

    cpu_port = None

    def load(self, program, config):
        layout = lay_out(program, 2)
        memory = bytearray(layout.size)
        engine = XdpEngine(program, layout, memory, clock=lambda: 1, synchronize=lambda: None)
        return Loaded(engine, lambda: None)


def _pipeline(device=None):
    return build_pipeline(device or ArenaDevice(), _CONFIG, lambda digests: True)


def _update(kind, table, matches, *, port=1, priority=0):
    """`matches`: one or two numbers per field, by their place; None leaves the field out."""
    info = _TABLES[table]
    entry = p4r.TableEntry(table_id=info.preamble.id, priority=priority)
    for field, numbers in zip(info.match_fields, matches, strict=True):
        if numbers is None:
            continue
        match, first = entry.match.add(field_id=field.id), to_bytes(numbers[0])
        match field.match_type:
            case p4i.MatchField.EXACT:
                match.exact.value = first
            case p4i.MatchField.LPM:
                match.lpm.value, match.lpm.prefix_len = first, numbers[1]
            case p4i.MatchField.TERNARY:
                match.ternary.value, match.ternary.mask = first, to_bytes(numbers[1])
            case p4i.MatchField.RANGE:
                match.range.low, match.range.high = first, to_bytes(numbers[1])
            case _:
                match.optional.value = first
    entry.action.action.action_id = _TO_PORT
    entry.action.action.params.add(param_id=1, value=to_bytes(port))
    return p4r.Update(type=kind, entity=p4r.Entity(table_entry=entry))


def _numbers(field):
    """Mostly what the field takes."""
    few = st.integers(0, 3)
    match field.match_type:
        case p4i.MatchField.LPM:
            width = field.bitwidth
            return st.integers(1, width).flatmap(
                lambda n: few.map(lambda value: (value << width - 2 >> width - n << width - n, n))
            )
        case p4i.MatchField.TERNARY:
            return st.tuples(few, few).map(lambda pair: (pair[0] & pair[1], pair[1]))
        case p4i.MatchField.RANGE:
            return st.tuples(few, few)
        case _:
            return st.tuples(few)


@st.composite
def _updates(draw):
    table = draw(st.sampled_from(sorted(_TABLES)))
    matches = [draw(st.one_of(st.none(), *[_numbers(field)] * 4)) for field in _TABLES[table].match_fields]
    kind = draw(st.sampled_from([p4r.Update.INSERT] * 2 + [p4r.Update.MODIFY, p4r.Update.DELETE]))
    priority = draw(st.integers(1, 3)) if table == "ternary_table" else 0
    update = _update(kind, table, matches, port=draw(st.integers(0, 600)), priority=priority)
    entry = update.entity.table_entry
    if table == "exact_table" and draw(st.booleans()):
        entry.meter_config.CopyFrom(p4r.MeterConfig(cir=1, cburst=draw(st.integers(0, 9)), pir=2, pburst=9))
    if table == "exact_table" and draw(st.booleans()):
        entry.counter_data.packet_count = draw(st.integers(0, 2**63 - 1))
    return update


def _errors(errors):
    return [error and (error.code.name, error.message) for error in errors or ()]


def _apply(pipeline, *updates):
    return _errors(apply_each(pipeline, p4r.WriteRequest(updates=updates)))


def _everything(pipeline):
    direct = p4r.Entity(direct_counter_entry={}), p4r.Entity(direct_meter_entry={})
    wanted = p4r.Entity(table_entry={}), *direct
    return [entity for query in wanted for entity in read_entities(pipeline, query)]


@settings(max_examples=100, deadline=None)
@given(batches=st.lists(st.tuples(st.booleans(), st.lists(_updates(), max_size=12)), max_size=6))
def test_both_engines_give_the_same_answers(batches):
    arena, interpreter = _pipeline(), _pipeline(SwitchDevice(Switch([])))
    for atomic, updates in batches:
        if atomic:
            assert _errors(apply_all_or_none(arena, updates)) == _errors(
                apply_all_or_none(interpreter, updates)
            )
        else:
            assert _apply(arena, *updates) == _apply(interpreter, *updates)
        arena.engine.flush()
        assert _everything(arena) == _everything(interpreter)


@settings(max_examples=30, deadline=None)
@given(updates=st.lists(_updates(), max_size=12))
def test_a_reconciliation_keeps_all(updates):
    old, new = _pipeline(), _pipeline()
    _apply(old, *updates)
    carry_over(old, new)
    assert _everything(new) == _everything(old)


@pytest.mark.parametrize("kind", [p4r.Update.INSERT, p4r.Update.MODIFY])
def test_a_meter_that_does_not_fit_changes_nothing(kind):
    pipeline = _pipeline()
    if kind == p4r.Update.MODIFY:
        assert _apply(pipeline, _update(p4r.Update.INSERT, "exact_table", [(1,), (1,)])) == []
    before = _everything(pipeline)
    update = _update(kind, "exact_table", [(1,), (1,)], port=7)
    update.entity.table_entry.meter_config.CopyFrom(p4r.MeterConfig(cburst=2**40, pburst=2**40))
    assert _apply(pipeline, update) == [
        ("INVALID_ARGUMENT", "cburst 1099511627776 of a meter is not valid (valid: 0 to 9223372036)")
    ]
    assert _everything(pipeline) == before


def test_an_entry_that_look_ups_would_take_too_long_for_is_refused_alone():
    """By the quick way for known shapes too, which has no words of its own for it."""
    pipeline = _pipeline()
    here = lay_out(pipeline.engine.program, 2).tables["ingress.lpm_table"]
    first_group = 1
    one_chain = (
        value
        for value in itertools.count(1 << 47)
        if hash_words(first_group, (value,)) >> here.bucket_shift == 5
    )
    updates = [
        _update(p4r.Update.INSERT, "lpm_table", [(value, 48)])
        for value in itertools.islice(one_chain, here.max_steps)
    ]
    *accepted, last = _apply(pipeline, *updates)
    assert accepted == [None] * len(accepted)
    assert last[0] == "RESOURCE_EXHAUSTED"
    assert (
        f"up to {here.max_steps} entries of one hash, a look-up could take {here.max_steps + 1} steps"
        in last[1]
    )
    assert len(_everything(pipeline)) == len(_everything(_pipeline())) + len(accepted)
