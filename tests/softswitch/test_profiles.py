# SPDX-License-Identifier: Apache-2.0
"""Action profiles, parser value sets and idle timeouts from the engine's side."""

from __future__ import annotations

import asyncio
import io
import json
from typing import TYPE_CHECKING

import pytest
from hvchannel_softswitch.engine import (
    ActionCall,
    EngineError,
    EntryKey,
    Exact,
    GroupRef,
    Lpm,
    MemberRef,
    NoSuchEntry,
    Range,
    TableFull,
    Ternary,
)
from hvchannel_softswitch.switch import Switch
from hvchannel_softswitch.trace import Tracer

if TYPE_CHECKING:
    from conftest import Bench

SECOND = 1_000_000_000
SPREAD, SPREADING = "Choice.spread", "Choice.spreading"


def key(kind: int) -> EntryKey:
    return EntryKey((Exact(kind),))


def to_port(port: int) -> ActionCall:
    return ActionCall("Choice.to_port", (port,))


def ports(bench: Bench, flows: range) -> list[int]:
    return [port for flow in flows for port, _ in bench.run(1, bytes([0x22, flow, 0, 0]))]


@pytest.fixture
def spread(choice: Bench) -> Bench:
    """Three members, a group of them all, an entry for the group."""
    for member in range(3):
        choice.engine.set_profile_member(SPREAD, member, to_port(4 + member))
    choice.engine.set_profile_group(SPREAD, 1, ((2, 1), (0, 2), (1, 1)))
    choice.engine.insert(SPREADING, key(0x22), GroupRef(1))
    return choice


def test_weights_count_and_members_stand_in_the_order_of_their_ids(spread: Bench) -> None:
    assert ports(spread, range(8)) == [4, 4, 5, 6, 4, 4, 5, 6]
    spread.engine.set_profile_group(SPREAD, 1, ((2, 1),))
    assert ports(spread, range(2)) == [6, 6]
    spread.engine.set_profile_member(SPREAD, 2, to_port(9))
    assert ports(spread, range(2)) == [9, 9], "a changed member is changed for all that refer to it"


def test_what_was_written_is_read_back(spread: Bench) -> None:
    engine = spread.engine
    assert engine.profile_members(SPREAD) == {0: to_port(4), 1: to_port(5), 2: to_port(6)}
    assert engine.profile_groups(SPREAD) == {1: ((2, 1), (0, 2), (1, 1))}
    engine.insert(SPREADING, key(0x23), MemberRef(2))
    assert [entry.action for entry in engine.entries(SPREADING)] == [GroupRef(1), MemberRef(2)]
    engine.modify(SPREADING, key(0x22), MemberRef(1))
    assert ports(spread, range(2)) == [5, 5]
    assert engine.default_action(SPREADING) == ActionCall("NoAction")
    engine.set_default_action(SPREADING, MemberRef(0))
    assert engine.default_action(SPREADING) == MemberRef(0)
    engine.delete(SPREADING, key(0x22))
    assert ports(spread, range(1)) == [4]
    engine.set_default_action(SPREADING, None)
    assert ports(spread, range(1)) == [0]


def test_what_is_in_use_stays(spread: Bench) -> None:
    engine = spread.engine
    with pytest.raises(
        EngineError, match=r"member 2 of action profile 'Choice.spread' is in use by 1 entries"
    ):
        engine.set_profile_member(SPREAD, 2, None)
    with pytest.raises(
        EngineError, match=r"group 1 of action profile 'Choice.spread' is in use by 1 entries"
    ):
        engine.set_profile_group(SPREAD, 1, None)
    engine.delete(SPREADING, key(0x22))
    engine.set_profile_group(SPREAD, 1, None)
    for member in range(3):
        engine.set_profile_member(SPREAD, member, None)
    assert (engine.profile_members(SPREAD), engine.profile_groups(SPREAD)) == ({}, {})


def test_refusals_name_the_offender(spread: Bench) -> None:
    engine = spread.engine
    with pytest.raises(
        EngineError, match=r"takes a member or a group of action profile 'Choice.spread', not action"
    ):
        engine.insert(SPREADING, key(1), to_port(1))
    with pytest.raises(EngineError, match="has no member 7"):
        engine.insert(SPREADING, key(1), MemberRef(7))
    with pytest.raises(EngineError, match="has no group 7"):
        engine.insert(SPREADING, key(1), GroupRef(7))
    with pytest.raises(EngineError, match=r"table 'Choice.saying' has const entries"):
        engine.insert("Choice.saying", key(1), MemberRef(1))
    with pytest.raises(EngineError, match=r"'Choice.fixed' has no selector"):
        engine.set_profile_group("Choice.fixed", 1, ())
    with pytest.raises(EngineError, match=r"no action 'elsewhere' \(valid: 'Choice.to_port'"):
        engine.set_profile_member(SPREAD, 3, ActionCall("elsewhere"))
    with pytest.raises(EngineError, match="weight 0 is below 1"):
        engine.set_profile_group(SPREAD, 2, ((0, 0),))
    for missing in (
        lambda: engine.set_profile_member(SPREAD, 9, None),
        lambda: engine.set_profile_group(SPREAD, 9, None),
    ):
        with pytest.raises(NoSuchEntry):
            missing()
    with pytest.raises(NoSuchEntry, match="no member 9 to put in group 2"):
        engine.set_profile_group(SPREAD, 2, ((9, 1),))
    for member in range(2):
        engine.set_profile_member("Choice.fixed", member, to_port(1))
    with pytest.raises(TableFull, match=r"'Choice.fixed' is full: it holds 2 members"):
        engine.set_profile_member("Choice.fixed", 2, to_port(1))


def test_a_direct_table_takes_no_member(lookup: Bench) -> None:
    with pytest.raises(EngineError, match="has no action profile; its entries hold actions"):
        lookup.engine.insert("LookupIngress.exact_t", EntryKey((Exact(1), Exact(2))), MemberRef(0))


def test_traces_name_the_member_and_its_group(spread: Bench) -> None:
    sink = io.StringIO()
    spread.engine.set_tracer(Tracer(sink, as_json=True))
    spread.run(1, bytes.fromhex("22020000"))
    step = next(s for s in json.loads(sink.getvalue())["steps"] if s.get("table") == SPREADING)
    assert (step["member"], step["group"], step["args"]) == (1, 1, {"port": 5})
    text = io.StringIO()
    spread.engine.set_tracer(Tracer(text, as_json=False))
    spread.run(1, bytes.fromhex("22020000"))
    assert "hit: Choice.to_port(port=0x5) (member 1 of group 1)" in text.getvalue()


def test_members_of_a_value_set_match_in_any_way(choice: Bench) -> None:
    name, options = "Parse.flows_with_options", bytes.fromhex("000050ff")
    choice.engine.set_value_set(name, ((Ternary(0x50, 0xF0), Range(3, 5)), (Lpm(0x60, 4), Exact(1))))
    assert len(choice.engine.value_set(name)) == 2
    sink = io.StringIO()
    choice.engine.set_tracer(Tracer(sink, as_json=True))
    frames = [(0x51, 3), (0x5F, 5), (0x5F, 6), (0x6A, 1), (0x6A, 2)]
    for kind, flow in frames:
        choice.run(1, bytes([kind, flow]) + options)
    records = [json.loads(line) for line in sink.getvalue().splitlines()]
    taken = [any(step.get("extracted") == "options" for step in record["steps"]) for record in records]
    assert taken == [True, True, False, True, False]


def test_refusals_of_value_sets(choice: Bench) -> None:
    with pytest.raises(TableFull, match=r"value set 'Parse.with_options' holds 2 members, too few for 3"):
        choice.engine.set_value_set("Parse.with_options", tuple((Exact(i),) for i in range(3)))
    with pytest.raises(EngineError, match="has 1 keys, the member 2"):
        choice.engine.set_value_set("Parse.with_options", ((Exact(1), Exact(2)),))
    with pytest.raises(EngineError, match=r"key 0 of value set 'Parse.with_options': it has 8 bits"):
        choice.engine.set_value_set("Parse.with_options", ((Exact(256),),))


def test_an_idle_entry_is_told_of_once_per_timeout(spread: Bench) -> None:
    engine, entry = spread.engine, (SPREADING, key(0x22))
    engine.set_idle_timeout(*entry, 2 * SECOND)
    assert engine.idle_timeout(*entry) == 2 * SECOND
    told = []
    for second in range(1, 9):
        spread.now = second * SECOND
        if second == 5:
            ports(spread, range(1))
        engine.sweep_idle()
        told.append(len(spread.idle))
        spread.idle.clear()
    assert told == [0, 1, 0, 1, 0, 0, 1, 0]
    assert engine.time_since_last_hit(*entry) == 3 * SECOND
    engine.set_idle_timeout(*entry, 0)
    spread.now = 100 * SECOND
    engine.sweep_idle()
    assert spread.idle == []


def test_refusals_of_idle_timeouts(spread: Bench) -> None:
    with pytest.raises(NoSuchEntry):
        spread.engine.set_idle_timeout(SPREADING, key(1), 1)
    with pytest.raises(
        EngineError, match=r"'Choice.fixing' has no idle timeouts \(tables with them: 'Choice.spreading'\)"
    ):
        spread.engine.set_idle_timeout("Choice.fixing", key(1), 1)


async def test_the_switch_sweeps(choice: Bench) -> None:
    switch = Switch([])
    told = asyncio.get_running_loop().create_future()
    switch.on_idle = lambda table, entry: told.done() or told.set_result((table, entry))
    engine = switch.load(choice.program)
    engine.set_profile_member(SPREAD, 0, to_port(1))
    engine.insert(SPREADING, key(1), MemberRef(0))
    engine.set_idle_timeout(SPREADING, key(1), 1)
    switch.commit(engine)
    switch.start()
    try:
        assert await asyncio.wait_for(told, 20) == (SPREADING, key(1))
    finally:
        switch.stop()
