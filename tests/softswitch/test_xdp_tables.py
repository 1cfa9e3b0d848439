# SPDX-License-Identifier: Apache-2.0
"""Tables in an arena: whatever the control plane does in whatever order, packets find what the interpreter finds, and
counters, idle times and meters follow the entries."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hvchannel_softswitch.engine import (
    CounterData,
    EntryExists,
    EntryKey,
    MeterConfig,
    NoSuchEntry,
    TableFull,
)
from hvchannel_softswitch.interpreter.tables import LiveTable
from hvchannel_softswitch.xdp.engine import XdpEngine
from hvchannel_softswitch.xdp.layout import lay_out
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

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


@dataclass
class Known:
    """What the engine must say of an entry."""

    born: int
    packets: int = 0
    octets: int = 0
    hit: int = 0
    timeout: int = 0
    meter: MeterConfig | None = None


@dataclass
class Flight:
    """A packet that found its entry and has yet to count there."""

    slot: int
    key: EntryKey
    born: int


class Tables(RuleBasedStateMachine):
    """One table of any kind, and the interpreter's beside it."""

    @initialize(shape=st.sampled_from(SHAPES))
    def begin(self, shape):
        kinds, self.widths = shape
        self.table = table_of(kinds, self.widths)
        self.program = program_of(base_program(), self.table)
        self.layout = tight(lay_out(self.program, CPUS), 16)
        self.memory = bytearray(self.layout.size)
        self.packets = Packets(self.layout, "t", self.memory)
        self.graces = Graces(self.packets)
        self.now = 1000
        self.arena = WatchedArena(self.memory, self.layout.size)
        self.engine = XdpEngine(self.program, self.layout, self.arena, **self.options())
        self.arena.watcher = self.graces.look
        self.graces.look()
        self.reference = LiveTable(self.table)
        self.known: dict[EntryKey, Known] = {}
        self.flights: list[Flight] = []
        self.births = 0
        priorities = st.integers(1, 3) if self.table.has_priority else st.just(0)
        self.keys = st.builds(
            lambda matches, priority: EntryKey(tuple(matches), priority),
            st.tuples(*map(match_of, kinds, self.widths)),
            priorities,
        )

    def options(self):
        return {"clock": lambda: self.now, "synchronize": self.synchronize}

    def synchronize(self):
        """Packets on their way get to their end."""
        while self.flights:
            self.land(self.flights.pop())
        self.graces.synchronize()

    def land(self, flight):
        self.now += 1
        self.packets.count(flight.slot, self.now % CPUS, 100)
        self.packets.hit(flight.slot, self.now)
        known = self.known.get(flight.key)
        if known is not None and known.born == flight.born:
            known.packets += 1
            known.octets += 100
            known.hit = self.now

    def some_key(self, data):
        return data.draw(st.sampled_from(list(self.known)) if self.known else self.keys)

    @rule(data=st.data(), call=CALLS)
    def insert(self, data, call):
        key = data.draw(self.keys)
        if key in self.known or len(self.known) == self.table.max_size:
            with pytest.raises(EntryExists if key in self.known else TableFull):
                self.engine.insert("t", key, call)
            return
        self.engine.insert("t", key, call)
        self.reference.insert(key, call)
        self.births += 1
        self.known[key] = Known(self.births, hit=self.now)

    @rule(data=st.data(), call=CALLS, times=st.integers(1, 12))
    def modify(self, data, call, times):
        key = self.some_key(data)
        if key not in self.known:
            with pytest.raises(NoSuchEntry):
                self.engine.modify("t", key, call)
            return
        for _ in range(times):
            self.engine.modify("t", key, call)
        self.reference.bind(self.reference.by_key[key], call)

    @rule(data=st.data())
    def delete(self, data):
        key = self.some_key(data)
        if key not in self.known:
            with pytest.raises(NoSuchEntry):
                self.engine.delete("t", key)
            return
        self.engine.delete("t", key)
        self.reference.delete(key)
        del self.known[key]

    @rule(call=CALLS | st.none())
    def set_default(self, call):
        self.engine.set_default_action("t", call)
        self.reference.default = (
            self.reference.own_default if call is None else self.reference.default_for(call)
        )

    @rule()
    def flush(self):
        self.engine.flush()

    @rule()
    def adopt(self):
        """The process dies, and another takes over."""
        self.engine.flush()
        self.engine = XdpEngine.adopt(self.program, self.layout, self.arena, **self.options())

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def packet(self, data):
        self.engine.flush()
        found = self.packets.look_up(data.draw(st.tuples(*map(value_of, self.widths))))
        for key, known in self.known.items():
            if self.engine._tables["t"].slot_of(key) == found.slot:
                self.flights.append(Flight(found.slot, key, known.born))

    @rule(data=st.data())
    def arrive(self, data):
        if self.flights:
            self.land(self.flights.pop(data.draw(st.integers(0, len(self.flights) - 1))))

    @precondition(lambda self: self.known)
    @rule(data=st.data(), packets=st.integers(0, 2**62), octets=st.integers(0, 2**62))
    def set_counter(self, data, packets, octets):
        key = self.some_key(data)
        self.engine.write_direct_counter("t", key, CounterData(packets, octets))
        self.known[key].packets, self.known[key].octets = packets, octets

    @precondition(lambda self: self.known)
    @rule(data=st.data(), config=st.none() | st.builds(MeterConfig, *[st.integers(0, 9)] * 4))
    def set_meter(self, data, config):
        key = self.some_key(data)
        self.engine.write_direct_meter("t", key, config)
        self.known[key].meter = config

    @precondition(lambda self: self.known)
    @rule(data=st.data(), timeout=st.integers(0, 5))
    def set_timeout(self, data, timeout):
        key = self.some_key(data)
        self.engine.set_idle_timeout("t", key, timeout)
        self.known[key].timeout = timeout

    @rule(data=st.data())
    def look_up(self, data):
        self.engine.flush()
        for values in data.draw(st.lists(st.tuples(*map(value_of, self.widths)), min_size=5, max_size=20)):
            found = self.packets.look_up(values)
            wanted = self.reference.find(values) or self.reference.default
            assert (found.action, found.args) == (wanted.action, wanted.args)

    @invariant()
    def reads_back(self):
        if not hasattr(self, "engine"):
            return
        entries = list(self.engine.entries("t"))
        assert [entry.key for entry in entries] == list(self.known)
        for entry in entries:
            known, key = self.known[entry.key], entry.key
            assert entry.action == self.reference.action_of(self.reference.by_key[key])
            assert self.engine.entry("t", key) == entry
            assert self.engine.read_direct_counter("t", key) == CounterData(known.packets, known.octets)
            assert self.engine.read_direct_meter("t", key) == known.meter
            assert self.engine.idle_timeout("t", key) == known.timeout
            assert self.engine.time_since_last_hit("t", key) == self.now - known.hit
        assert self.engine.default_action("t") == self.reference.action_of(self.reference.default)


Tables.TestCase.settings = settings(max_examples=120, stateful_step_count=60, deadline=None)
TestTables = Tables.TestCase
