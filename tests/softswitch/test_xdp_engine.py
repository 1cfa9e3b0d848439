# SPDX-License-Identifier: Apache-2.0
"""The XDP engine answers the control plane as the interpreter does: the same results, the same refusals."""

from __future__ import annotations

import inspect
import mmap
from pathlib import Path

import pytest
from hvchannel_softswitch import model
from hvchannel_softswitch.engine import (
    ActionCall,
    CloneSession,
    CounterData,
    Engine,
    EngineError,
    EntryKey,
    Exact,
    Lpm,
    MemberRef,
    MeterConfig,
    Range,
    Replica,
    Ternary,
)
from hvchannel_softswitch.interpreter import Interpreter
from hvchannel_softswitch.xdp.arena import Arena, ArenaError
from hvchannel_softswitch.xdp.engine import XdpEngine
from hvchannel_softswitch.xdp.layout import OWN_ENTRIES, lay_out
from hypothesis import given, settings
from hypothesis import strategies as st

from .xdp_arena import CPUS, Packets, match_of

ROOT = Path(__file__).parents[2]
PROGRAMS = {
    path.stem: model.load(path.read_bytes())
    for path in (
        ROOT / "tests/p4runtime/programs/kinds.json",
        ROOT / "tests/p4runtime/programs/entities.json",
        ROOT / "tests/p4runtime/programs/forward.json",
        ROOT / "tests/softswitch/programs/lookup.json",
        ROOT / "p4src/compiled/host_vswitch.json",
        ROOT / "p4src/compiled/guest_vswitch.json",
    )
}
WRONG = (Exact(2**130), Exact(-1), Lpm(1, 0), Lpm(0, 999), Ternary(3, 1), Range(5, 4))


class Pair:
    """The same program in both engines, and one clock."""

    def __init__(self, name):
        self.program = PROGRAMS[name]
        self.now = 10
        self.told = ([], [])
        layout = lay_out(self.program, CPUS)
        self.engines = (
            Interpreter(
                self.program,
                frames=lambda port, frame: None,
                digests=lambda name, values: None,
                drop_port=511,
                clock=lambda: self.now,
                idle=lambda table, key: self.told[0].append((table, key)),
            ),
            XdpEngine(
                self.program,
                layout,
                bytearray(layout.size),
                clock=lambda: self.now,
                synchronize=lambda: None,
                idle=lambda table, key: self.told[1].append((table, key)),
            ),
        )

    def both(self, method, *args):
        """What a method of both engines gives, or how it refuses."""
        answers = [self._answer(engine, method, args) for engine in self.engines]
        assert answers[0] == answers[1]
        return answers[0]

    @staticmethod
    def _answer(engine, method, args):
        try:
            answer = getattr(engine, method)(*args)
        except (EngineError, IndexError, KeyError) as error:
            return type(error), str(error)
        return list(answer) if inspect.isgenerator(answer) or method == "entries" else answer


def a_call(data, table):
    action = data.draw(st.sampled_from(table.actions))
    args = tuple(data.draw(st.integers(0, 2**param.width - 1)) for param in action.params)
    return data.draw(
        st.sampled_from(
            [ActionCall(action.name, args)] * 8
            + [ActionCall("nothing"), ActionCall(action.name, (*args, 1)), MemberRef(1)]
            + [ActionCall(action.name, (2**200,) * len(args))]
        )
    )


def a_key(data, table):
    matches = [data.draw(match_of(key.kind, key.width)) for key in table.keys]
    if data.draw(st.integers(0, 9)) == 0:
        matches[data.draw(st.integers(0, len(matches) - 1))] = data.draw(st.sampled_from(WRONG))
    if data.draw(st.integers(0, 29)) == 0:
        matches.pop()
    return EntryKey(tuple(matches), data.draw(st.integers(1, 3)) if table.has_priority else 0)


def one_step(data, pair):
    tables = [table for table in pair.program.tables.values() if table.keys and table.profile is None]
    table = data.draw(st.sampled_from(tables))
    name = table.name
    there = [entry.key for entry in pair.both("entries", name)]
    key = data.draw(st.sampled_from(there)) if there and data.draw(st.booleans()) else a_key(data, table)
    what = data.draw(
        st.sampled_from(("insert", "insert", "modify", "delete", "default", "idle", "counter", "meter"))
    )
    match what:
        case "insert" | "modify":
            pair.both(what, name, key, a_call(data, table))
        case "delete":
            pair.both("delete", name, key)
        case "default":
            pair.both("set_default_action", name, None if data.draw(st.booleans()) else a_call(data, table))
            pair.both("default_action", name)
        case "idle":
            pair.both("set_idle_timeout", name, key, data.draw(st.integers(0, 5)))
            pair.now += data.draw(st.integers(0, 5))
            pair.both("sweep_idle")
            assert pair.told[0] == pair.told[1]
            pair.both("idle_timeout", name, key)
            pair.both("time_since_last_hit", name, key)
        case "counter" if table.with_counters:
            data_ = CounterData(data.draw(st.integers(0, 2**64 - 1)), data.draw(st.integers(0, 2**64 - 1)))
            pair.both("write_direct_counter", name, key, data_)
            pair.both("read_direct_counter", name, key)
        case "meter" if table.direct_meter is not None:
            config = MeterConfig(*(data.draw(st.integers(0, 10**9)) for _ in range(4)))
            pair.both("write_direct_meter", name, key, data.draw(st.sampled_from((config, None))))
            pair.both("read_direct_meter", name, key)
    pair.both("entry", name, key)


@settings(max_examples=80, deadline=None)
@given(data=st.data(), name=st.sampled_from(sorted(PROGRAMS)))
def test_both_engines_answer_alike(data, name):
    pair = Pair(name)
    for _ in range(data.draw(st.integers(1, 30))):
        one_step(data, pair)


def test_a_full_table_refuses_alike():
    pair = Pair("kinds")
    keys = [EntryKey((Exact(number), Exact(1))) for number in range(17)]
    call = pair.program.tables["ingress.exact_table"].default_action
    answers = [pair.both("insert", "ingress.exact_table", key, call) for key in keys]
    assert answers[:16] == [None] * 16
    assert answers[16][1] == "table 'ingress.exact_table' is full: it holds 16 entries"
    assert "already has an entry" in pair.both("insert", "ingress.exact_table", keys[0], call)[1]


@pytest.mark.parametrize("index", [-1, 0, 3, 4])
def test_registers_answer_alike(index):
    pair = Pair("entities")
    pair.both("write_register", "ingress.last_seen", index, 2**40 + 5)
    pair.both("read_register", "ingress.last_seen", index)


def test_value_sets_groups_and_sessions_answer_alike():
    pair = Pair("entities")
    changes = []
    pair.engines[1].on_change = lambda: changes.append(1)
    for name, value_set in pair.program.value_sets.items():
        member = tuple(Exact(1) for _ in value_set.widths)
        for members in ((member,), (member,) * (value_set.size + 1), ((Exact(2**200),) * len(member),), (())):
            pair.both("set_value_set", name, members)
            pair.both("value_set", name)
    before = len(changes)
    assert before
    for replicas in ((Replica(1, 2),), None, None):
        pair.both("set_multicast_group", 7, replicas)
        pair.both("multicast_groups")
    for session in (CloneSession((Replica(1),)), None):
        pair.both("set_clone_session", 7, session)
        pair.both("clone_sessions")
    assert len(changes) == before + 5


def test_it_has_all_that_an_engine_has_but_frames():
    for name, member in vars(Engine).items():
        if name.startswith("_") or name in ("process", "close"):
            continue
        assert hasattr(XdpEngine, name), name
        if inspect.isfunction(member):
            ours = inspect.signature(getattr(XdpEngine, name))
            assert list(ours.parameters) == list(inspect.signature(member).parameters)


def test_what_is_not_compiled_is_unknown():
    _, engine = Pair("entities").engines
    for method, args in (
        ("profile_members", ()),
        ("set_profile_member", (1, None)),
        ("profile_groups", ()),
        ("set_profile_group", (1, None)),
    ):
        with pytest.raises(KeyError, match="profile"):
            getattr(engine, method)("ingress.profile", *args)


def test_a_table_without_keys_holds_no_entries():
    program = PROGRAMS["host_vswitch"]
    _, engine = Pair("host_vswitch").engines
    name = next(table.name for table in program.tables.values() if not table.keys)
    assert engine.default_action(name) == program.tables[name].default_action
    assert list(engine.entries(name)) == []
    assert engine.entry(name, EntryKey(())) is None
    with pytest.raises(EngineError, match=f"table '{name}' has no keys, so it has only a default action"):
        engine.insert(name, EntryKey(()), program.tables[name].default_action)


def test_memory_that_will_not_do_is_refused():
    layout = lay_out(PROGRAMS["kinds"], CPUS)
    with pytest.raises(ArenaError, match=f"needs {layout.size} bytes, the memory has 64"):
        Arena(bytearray(64), layout.size)
    with pytest.raises(ArenaError, match="must be writable"):
        Arena(bytes(layout.size), layout.size)


def test_a_priority_that_a_rank_cannot_hold_is_refused():
    _, engine = Pair("kinds").engines
    key = EntryKey((Ternary(0, 0), Range(0, 1), Ternary(0, 0)), 2**32)
    call = PROGRAMS["kinds"].tables["ingress.ternary_table"].default_action
    with pytest.raises(EngineError, match="priority 4294967296 is not valid"):
        engine.insert("ingress.ternary_table", key, call)


def test_the_programs_own_entries_are_where_the_compiled_program_expects_them():
    program = PROGRAMS["host_vswitch"]
    layout = lay_out(program, CPUS)
    memory = bytearray(layout.size)
    engine = XdpEngine(program, layout, memory, clock=lambda: 0, synchronize=lambda: None)
    with_entries = [table for table in program.tables.values() if table.entries]
    assert with_entries
    for table in with_entries:
        packets = Packets(layout, table.name, memory)
        assert packets.number(layout.tables[table.name].header, 4) == 1
        for slot, entry in enumerate(table.entries, OWN_ENTRIES):
            assert engine.key_at(table.name, slot) == entry.key


def test_a_released_engine_lets_go_of_its_memory():
    program = PROGRAMS["kinds"]
    layout = lay_out(program, CPUS)
    with mmap.mmap(-1, layout.size) as memory:
        engine = XdpEngine(program, layout, memory, clock=lambda: 0, synchronize=lambda: None)
        with pytest.raises(BufferError):
            memory.close()
        engine.release()
