# SPDX-License-Identifier: Apache-2.0
"""Packets see each change whole or not at all: between any two stores, whether they began before the change or not,
and a process that dies there leaves an arena that another can go on with."""

from __future__ import annotations

import contextlib
import itertools

import pytest
from hvchannel_softswitch.engine import EngineError, EntryKey, Exact
from hvchannel_softswitch.xdp.engine import XdpEngine
from hvchannel_softswitch.xdp.layout import lay_out
from hypothesis import given, settings
from hypothesis import strategies as st

from .xdp_arena import (
    CALLS,
    CPUS,
    SHAPES,
    Graces,
    Packets,
    WatchedArena,
    base_program,
    match_of,
    program_of,
    table_of,
    tight,
    value_of,
)


class Scene:
    """An engine for one table, packets that are asked for at every store, and packets on their way."""

    def __init__(self, shape, values):
        kinds, widths = shape
        self.table = table_of(kinds, widths, size=6)
        self.program = program_of(base_program(), self.table)
        self.layout = tight(lay_out(self.program, CPUS), 16)
        self.memory = bytearray(self.layout.size)
        self.packets = Packets(self.layout, "t", self.memory)
        self.graces = Graces(self.packets)
        self.arena = WatchedArena(self.memory, self.layout.size)
        self.engine = XdpEngine(
            self.program, self.layout, self.arena, clock=lambda: 1, synchronize=self.synchronize
        )
        self.arena.watcher = self.stored
        self.values = values
        self.seen = []
        self.walks = []
        self.late = []
        self.images = []

    def outcomes(self):
        return [self.packets.look_up(values).outcome for values in self.values]

    def stored(self):
        self.graces.look()
        self.seen.append(self.outcomes())
        self.images.append(bytes(self.memory))

    def synchronize(self):
        self.finish()
        self.graces.synchronize()

    def set_out(self):
        """Packets of each kind, stopped before each of their reads."""
        for place, values in enumerate(self.values):
            for steps in itertools.count():
                walk = self.packets.walk(values)
                if len(list(itertools.islice(walk, steps))) < steps:
                    break
                self.walks.append((place, walk))

    def finish(self):
        walks, self.walks = self.walks, []
        for place, walk in walks:
            while True:
                try:
                    next(walk)
                except StopIteration as end:
                    self.late.append((place, end.value.outcome))
                    break

    def change(self, data, keys):
        """One change; refusals change nothing."""
        there = [entry.key for entry in self.engine.entries("t")]
        key = data.draw(st.sampled_from(there) if there and data.draw(st.booleans()) else keys)
        what = data.draw(st.sampled_from(("insert", "modify", "modify", "delete", "default", "flush")))
        with contextlib.suppress(EngineError):
            match what:
                case "insert":
                    self.engine.insert("t", key, data.draw(CALLS))
                case "modify":
                    self.engine.modify("t", key, data.draw(CALLS))
                case "delete":
                    self.engine.delete("t", key)
                case "default":
                    self.engine.set_default_action("t", data.draw(CALLS))
                case "flush":
                    self.engine.flush()


def scene(data):
    shape = data.draw(st.sampled_from(SHAPES))
    kinds, widths = shape
    values = data.draw(st.lists(st.tuples(*map(value_of, widths)), min_size=3, max_size=8, unique=True))
    found = Scene(shape, values)
    priorities = st.integers(1, 3) if found.table.has_priority else st.just(0)
    keys = st.builds(
        lambda matches, priority: EntryKey(tuple(matches), priority),
        st.tuples(*map(match_of, kinds, widths)),
        priorities,
    )
    return found, keys


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_packet_sees_the_old_or_the_new_at_every_store(data):
    it, keys = scene(data)
    for _ in range(data.draw(st.integers(1, 40))):
        before = it.outcomes()
        it.seen.clear()
        it.late.clear()
        it.set_out()
        it.change(data, keys)
        after = it.outcomes()
        for place in range(len(it.values)):
            seen = [before[place], *(outcomes[place] for outcomes in it.seen), after[place]]
            assert [outcome for outcome, _ in itertools.groupby(seen)] in (
                [before[place]],
                [before[place], after[place]],
            )
        it.finish()
        for place, outcome in it.late:
            assert outcome in (before[place], after[place])


def _state(engine):
    entries = list(engine.entries("t"))
    counters = [engine.read_direct_counter("t", entry.key) for entry in entries]
    return entries, engine.default_action("t"), counters


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_process_may_die_at_any_store(data):
    it, keys = scene(data)
    for _ in range(data.draw(st.integers(1, 25))):
        for slot in set(it.packets.linked()):
            it.packets.count(slot, slot % CPUS, 100)
        before, periods = _state(it.engine), it.graces.periods
        it.images.clear()
        it.change(data, keys)
        it.engine.flush()
        after = _state(it.engine)
        # What a slot that is used again has counted is carried over in several stores.
        told = slice(0, 3 if it.graces.periods == periods else 2)
        for image in it.images:
            memory = bytearray(image)
            heir = XdpEngine.adopt(it.program, it.layout, memory, clock=lambda: 1, synchronize=lambda: None)
            assert _state(heir)[told] in (before[told], after[told])
            packets = Packets(it.layout, "t", memory)
            heir.flush()
            assert len(list(packets.linked())) == 1 + len(_state(heir)[0])


def test_the_watcher_notices_a_record_changed_too_early():
    it = Scene(SHAPES[0], [(0,)])
    key = EntryKey((Exact(0),))
    it.engine.insert("t", key, it.table.default_action)
    slot = it.packets.look_up((0,)).slot
    it.engine.delete("t", key)
    it.memory[it.packets.here.entry(slot)] ^= 1
    with pytest.raises(AssertionError, match="changed before the grace period"):
        it.graces.look()
