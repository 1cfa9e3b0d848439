# SPDX-License-Identifier: Apache-2.0
"""The interpreter: tables, counters, meters, registers and the like of one program, and the generated code that
uses them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import structlog

from hvchannel_softswitch.engine import (
    Action,
    ActionCall,
    CloneSession,
    CounterData,
    DigestSink,
    Entry,
    EntryKey,
    FrameSink,
    IdleSink,
    Inserter,
    Match,
    MeterConfig,
    Replica,
)
from hvchannel_softswitch.entry_checks import check_key
from hvchannel_softswitch.interpreter.code import Code, Sinks
from hvchannel_softswitch.interpreter.inserter import TableInserter
from hvchannel_softswitch.interpreter.meters import TwoRateMeter
from hvchannel_softswitch.interpreter.state import State
from hvchannel_softswitch.interpreter.tables import LiveEntry, LiveTable
from hvchannel_softswitch.model import Program
from hvchannel_softswitch.refusals import (
    check_default_writable,
    check_index,
    check_timed,
    check_writable,
    entry_exists,
    no_such_entry,
    table_full,
)
from hvchannel_softswitch.trace import Tracer

T = TypeVar("T")

log = structlog.get_logger(__name__)

FAULTS_LOGGED = 10
"""After so many packets that met a defect of the engine, further ones are counted in silence."""


class Interpreter:
    """An engine (see `engine.Engine`) for any program that `model.load` lets through."""

    def __init__(
        self,
        program: Program,
        *,
        frames: FrameSink,
        digests: DigestSink,
        drop_port: int,
        clock: Callable[[], int],
        idle: IdleSink | None = None,
    ) -> None:
        """`clock` gives nanoseconds and never goes back. Entries and default actions of the program are in
        place at once. Raises UnsupportedProgram for an expression that Python would not take."""
        self.program = program
        self.faults = 0
        """Packets dropped because of a defect of this engine; always 0 if it has none."""
        self._clock = clock
        self._idle = idle
        self._state = State(program, clock)
        self._tables = self._state.tables
        self._code = Code(program, self._state, Sinks(frames, digests), drop_port=drop_port, clock=clock)
        self._untraced = self._code.compile(None)
        self._traced = self._untraced
        self._tracer: Tracer | None = None
        self._process = self._untraced

    @property
    def overruns(self) -> int:
        """Frames whose copies and passes would not end, and loops of actions that would not; see `traffic` and
        `compile_statements` for the bounds."""
        return self._state.traffic.overruns + self._code.stopped_loops

    def source(self) -> str:
        """The generated code, as Python source."""
        return self._code.source(trace=False)

    def set_tracer(self, tracer: Tracer | None) -> None:
        """Traces every packet to `tracer` from the next one on; None goes back to the build without a trace
        of it."""
        self._tracer = tracer if tracer is not None and not tracer.exhausted else None
        if self._tracer is None:
            self._process = self._untraced
            return
        self._tracer.attach(self.program)
        self._traced = self._code.compile(tracer)
        self._process = self._run_traced

    def _run_traced(self, port: int, frame: bytes) -> None:
        tracer, traced = self._tracer, self._traced
        assert tracer is not None
        tracer.begin(port, frame)
        try:
            traced(port, frame)
        finally:
            tracer.end()
            if tracer.exhausted:
                self.set_tracer(None)

    kind = "interpreter"
    lost_records = 0  # what it tells is told at once
    atomic_batches = True

    def close(self) -> None:
        """See Engine."""

    def flush(self) -> None:
        """See Engine. There is nothing to wait for."""

    def process(self, port: int, frame: bytes) -> None:
        """See Engine. Never raises: a defect is logged and costs the one packet."""
        try:
            self._process(port, frame)
        except Exception:
            self.faults += 1
            if self.faults <= FAULTS_LOGGED:
                log.exception(
                    "defect_drops_packet",
                    program=self.program.name,
                    port=port,
                    bytes=len(frame),
                    head=frame[:54].hex(),
                )

    def insert(self, table: str, key: EntryKey, action: Action) -> None:
        """See Engine. Raises EngineError too for a match or an argument that the table cannot take."""
        live = self._writable(table)
        check_key(live.table, key)
        live.check(action)
        if key in live.by_key:
            raise entry_exists(table, key)
        if len(live.by_key) >= live.table.max_size:
            raise table_full(live.table)
        entry = live.insert(key, action)
        if live.table.support_timeout:
            entry.hit = self._clock()

    def inserter(self, table: str, action: str) -> Inserter:
        """See Engine."""
        return TableInserter(self._writable(table), action, self._clock)

    def modify(self, table: str, key: EntryKey, action: Action) -> None:
        """See Engine."""
        live = self._writable(table)
        live.check(action)
        live.bind(self._entry(table, key), action)

    def delete(self, table: str, key: EntryKey) -> None:
        """See Engine."""
        live = self._writable(table)
        self._entry(table, key)
        live.delete(key)

    def entry(self, table: str, key: EntryKey) -> Entry | None:
        """See Engine."""
        live = self._tables[table]
        entry = live.by_key.get(key)
        return None if entry is None else Entry(key, live.action_of(entry), entry.is_const)

    def occupancy(self) -> dict[str, tuple[int, int]]:
        """See Engine."""
        return {name: (len(live.by_key), live.table.max_size) for name, live in self._tables.items()}

    def entries(self, table: str) -> Iterator[Entry]:
        """See Engine."""
        live = self._tables[table]
        for key, entry in list(live.by_key.items()):
            yield Entry(key, live.action_of(entry), entry.is_const)

    def default_action(self, table: str) -> Action:
        """See Engine."""
        live = self._tables[table]
        return live.action_of(live.default)

    def set_default_action(self, table: str, action: Action | None) -> None:
        """See Engine. Raises EngineError for a const default action."""
        live = self._tables[table]
        check_default_writable(live.table)
        if action is not None:
            live.check(action)
        if live.default is not live.own_default:
            live.release(live.default)
        live.default = live.own_default if action is None else live.default_for(action)

    def read_direct_counter(self, table: str, key: EntryKey) -> CounterData:
        """See Engine."""
        entry = self._entry(table, key)
        return CounterData(entry.packets, entry.bytes)

    def write_direct_counter(self, table: str, key: EntryKey, data: CounterData) -> None:
        """See Engine."""
        entry = self._entry(table, key)
        entry.packets, entry.bytes = data.packets, data.bytes

    def read_direct_meter(self, table: str, key: EntryKey) -> MeterConfig | None:
        """See Engine."""
        meter = self._entry(table, key).meter
        return None if meter is None else meter.config

    def write_direct_meter(self, table: str, key: EntryKey, config: MeterConfig | None) -> None:
        """See Engine. The buckets start full."""
        self._entry(table, key).meter = self._meter(config)

    def check_meter(self, config: MeterConfig) -> None:
        """See Engine. All are good."""

    def read_counter(self, counter: str, index: int) -> CounterData:
        """See Engine."""
        packets, octets = _cell(self._state.counters[counter], index, f"counter {counter!r}")
        return CounterData(packets, octets)

    def write_counter(self, counter: str, index: int, data: CounterData) -> None:
        """See Engine."""
        _cell(self._state.counters[counter], index, f"counter {counter!r}")[:] = data.packets, data.bytes

    def read_meter(self, meter: str, index: int) -> MeterConfig | None:
        """See Engine."""
        cell = _cell(self._state.meters[meter], index, f"meter {meter!r}")
        return None if cell is None else cell.config

    def write_meter(self, meter: str, index: int, config: MeterConfig | None) -> None:
        """See Engine. The buckets start full."""
        _cell(self._state.meters[meter], index, f"meter {meter!r}")
        self._state.meters[meter][index] = self._meter(config)

    def read_register(self, register: str, index: int) -> int:
        """See Engine."""
        value: int = _cell(self._state.registers[register], index, f"register {register!r}")
        return value

    def write_register(self, register: str, index: int, value: int) -> None:
        """See Engine. Bits beyond the register's width are cut off."""
        _cell(self._state.registers[register], index, f"register {register!r}")
        self._state.registers[register][index] = value & ((1 << self.program.registers[register].width) - 1)

    def value_set(self, name: str) -> tuple[tuple[Match, ...], ...]:
        """See Engine."""
        return self._state.value_sets[name].members

    def set_value_set(self, name: str, members: tuple[tuple[Match, ...], ...]) -> None:
        """See Engine."""
        self._state.value_sets[name].set(members)

    def multicast_groups(self) -> Mapping[int, tuple[Replica, ...]]:
        """See Engine."""
        return self._state.traffic.groups

    def set_multicast_group(self, group: int, replicas: tuple[Replica, ...] | None) -> None:
        """See Engine."""
        _put(self._state.traffic.groups, group, replicas)

    def clone_sessions(self) -> Mapping[int, CloneSession]:
        """See Engine."""
        return self._state.traffic.sessions

    def set_clone_session(self, session: int, value: CloneSession | None) -> None:
        """See Engine."""
        _put(self._state.traffic.sessions, session, value)

    def profile_members(self, profile: str) -> Mapping[int, ActionCall]:
        """See Engine."""
        return {ident: member.call for ident, member in self._state.profiles[profile].members.items()}

    def set_profile_member(self, profile: str, member: int, action: ActionCall | None) -> None:
        """See Engine. Raises EngineError too for an action that a table of the profile does not have."""
        self._state.profiles[profile].set_member(member, action)

    def profile_groups(self, profile: str) -> Mapping[int, tuple[tuple[int, int], ...]]:
        """See Engine."""
        return {ident: group.members for ident, group in self._state.profiles[profile].groups.items()}

    def set_profile_group(
        self, profile: str, group: int, members: tuple[tuple[int, int], ...] | None
    ) -> None:
        """See Engine. Raises EngineError too for a profile without a selector."""
        self._state.profiles[profile].set_group(group, members)

    def set_idle_timeout(self, table: str, key: EntryKey, timeout_ns: int) -> None:
        """See Engine. Raises EngineError for a table without idle timeouts."""
        entry = self._timed(table, key)
        entry.timeout, entry.notified = timeout_ns, self._clock()

    def idle_timeout(self, table: str, key: EntryKey) -> int:
        """See Engine. Raises EngineError for a table without idle timeouts."""
        return self._timed(table, key).timeout

    def time_since_last_hit(self, table: str, key: EntryKey) -> int:
        """See Engine. Raises EngineError for a table without idle timeouts."""
        return self._clock() - self._timed(table, key).hit

    @property
    def has_timeouts(self) -> bool:
        """Whether some table supports idle timeouts, so that `sweep_idle` has work."""
        return any(table.support_timeout for table in self.program.tables.values())

    def sweep_idle(self) -> None:
        """Tells the idle sink of every entry that has been idle for its whole timeout, since its last packet or
        since it was last told of. To be called now and then; what is late is told late."""
        now = self._clock()
        for name, live in self._tables.items():
            if not live.table.support_timeout:
                continue
            for key, entry in list(live.by_key.items()):
                if entry.timeout and now - max(entry.hit, entry.notified) >= entry.timeout:
                    entry.notified = now
                    if self._idle is not None:
                        self._idle(name, key)

    def _timed(self, table: str, key: EntryKey) -> LiveEntry:
        check_timed(self.program, self._tables[table].table)
        return self._entry(table, key)

    def _meter(self, config: MeterConfig | None) -> TwoRateMeter | None:
        return None if config is None else TwoRateMeter(config, self._clock())

    def _writable(self, table: str) -> LiveTable:
        live = self._tables[table]
        check_writable(live.table)
        return live

    def _entry(self, table: str, key: EntryKey) -> LiveEntry:
        entry = self._tables[table].by_key.get(key)
        if entry is None:
            raise no_such_entry(table, key)
        return entry


def _cell(cells: list[Any], index: int, what: str) -> Any:
    check_index(len(cells), index, what)
    return cells[index]


def _put(table: dict[int, T], number: int, value: T | None) -> None:
    if value is None:
        table.pop(number, None)
    else:
        table[number] = value
