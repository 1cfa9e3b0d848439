# SPDX-License-Identifier: Apache-2.0
"""The interpreter: tables, counters, meters and registers of one program, and the generated function that
uses them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import structlog

from hvchannel_softswitch.engine import (
    ActionCall,
    CounterData,
    DigestSink,
    EngineError,
    Entry,
    EntryExists,
    EntryKey,
    FrameSink,
    MeterConfig,
    NoSuchEntry,
    TableFull,
)
from hvchannel_softswitch.interpreter.generate import generate
from hvchannel_softswitch.interpreter.hashes import ALGORITHMS
from hvchannel_softswitch.interpreter.meters import TwoRateMeter
from hvchannel_softswitch.interpreter.names import identifiers
from hvchannel_softswitch.interpreter.runtime import RUNTIME
from hvchannel_softswitch.interpreter.tables import LiveEntry, LiveTable
from hvchannel_softswitch.interpreter.validate import check_action, check_key
from hvchannel_softswitch.model import Program, UnsupportedProgram
from hvchannel_softswitch.trace import Tracer

log = structlog.get_logger(__name__)

_Process: TypeAlias = Callable[[int, bytes], None]

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
    ) -> None:
        """`clock` gives nanoseconds and never goes back. Const entries and default actions are in place at
        once.
        Raises UnsupportedProgram for an expression that Python would not take."""
        self.program = program
        self.faults = 0
        """Packets dropped because of a defect of this engine; always 0 if it has none."""
        self._drop_port = drop_port
        self._clock = clock
        self._tables = {name: LiveTable(table) for name, table in program.tables.items()}
        self._counters = {
            c.name: [[0, 0] for _ in range(c.size)] for c in program.counters.values() if not c.is_direct
        }
        self._meters: dict[str, list[TwoRateMeter | None]] = {
            m.name: [None] * m.size for m in program.meters.values() if not m.is_direct
        }
        self._registers = {r.name: [0] * r.size for r in program.registers.values()}
        self._globals = self._make_globals(frames, digests)
        self._untraced: _Process = self._compile(trace=False)
        self._traced: _Process | None = None
        self._tracer: Tracer | None = None
        self._process = self._untraced

    def source(self) -> str:
        """The generated function, as Python source."""
        return generate(self.program, drop_port=self._drop_port, trace=False)

    def _make_globals(self, frames: FrameSink, digests: DigestSink) -> dict[str, Any]:
        space: dict[str, Any] = {
            **RUNTIME,
            **{f"hash_{name}": function for name, function in ALGORITHMS.items()},
            "from_bytes": int.from_bytes,
            "now": self._clock,
            "started": self._clock(),
            "send": frames,
            "digests": digests,
            "log_message": _log_message,
            "check_failed": _check_failed,
            "random_number": random.randint,
        }
        names = identifiers(self.program)
        for name, table in self._tables.items():
            space[f"table_{names[name]}"] = table
            space[f"find_{names[name]}"] = table.find
        for prefix, cells in (
            ("counter", self._counters),
            ("meter", self._meters),
            ("register", self._registers),
        ):
            space |= {f"{prefix}_{names[name]}": values for name, values in cells.items()}
        return space

    def _compile(self, *, trace: bool) -> _Process:
        text = generate(self.program, drop_port=self._drop_port, trace=trace)
        space = dict(self._globals)
        if trace:
            space["trace"] = self._tracer
        try:
            code = compile(text, f"<{self.program.name or 'program'}>", "exec")
        except (SyntaxError, RecursionError, MemoryError) as error:
            raise UnsupportedProgram(
                f"program {self.program.name!r}: an expression is nested too deeply ({error}); supported: 100 levels"
            ) from error
        exec(code, space)  # noqa: S102 (our own output)
        process: _Process = space["process"]
        return process

    def set_tracer(self, tracer: Tracer | None) -> None:
        """Traces every packet to `tracer` from the next one on; None goes back to the build without a trace
        of it."""
        self._tracer = tracer if tracer is not None and not tracer.exhausted else None
        if self._tracer is None:
            self._process = self._untraced
            return
        self._tracer.attach(self.program)
        self._traced = self._compile(trace=True)
        self._process = self._run_traced

    def _run_traced(self, port: int, frame: bytes) -> None:
        tracer, traced = self._tracer, self._traced
        assert tracer is not None and traced is not None
        tracer.begin(port, frame)
        try:
            traced(port, frame)
        finally:
            tracer.end()
            if tracer.exhausted:
                self.set_tracer(None)

    def process(self, port: int, frame: bytes) -> None:
        """See Engine. Never raises: a defect is logged and costs the one packet."""
        try:
            self._process(port, frame)
        except Exception:
            self.faults += 1
            if self.faults <= FAULTS_LOGGED:
                log.exception(
                    "packet dropped by a defect", program=self.program.name, port=port, frame=frame.hex()
                )

    def insert(self, table: str, key: EntryKey, action: ActionCall) -> None:
        """See Engine. Raises EngineError too for a match or an argument that the table cannot take."""
        live = self._writable(table)
        check_key(live.table, key)
        check_action(live.table, action)
        if key in live.by_key:
            raise EntryExists(f"table {table!r} already has an entry with this key: {key.matches}")
        if len(live.by_key) >= live.table.max_size:
            raise TableFull(f"table {table!r} is full: it holds {live.table.max_size} entries")
        live.insert(key, action)

    def modify(self, table: str, key: EntryKey, action: ActionCall) -> None:
        """See Engine."""
        live = self._writable(table)
        check_action(live.table, action)
        entry = self._entry(table, key)
        entry.action, entry.args = live.actions[action.name], action.args

    def delete(self, table: str, key: EntryKey) -> None:
        """See Engine."""
        live = self._writable(table)
        self._entry(table, key)
        live.delete(key)

    def entry(self, table: str, key: EntryKey) -> Entry | None:
        """See Engine."""
        live = self._tables[table]
        entry = live.by_key.get(key)
        return None if entry is None else Entry(key, live.call_of(entry), entry.is_const)

    def entries(self, table: str) -> Iterator[Entry]:
        """See Engine."""
        live = self._tables[table]
        for key, entry in list(live.by_key.items()):
            yield Entry(key, live.call_of(entry), entry.is_const)

    def default_action(self, table: str) -> ActionCall:
        """See Engine."""
        live = self._tables[table]
        return live.call_of(live.default)

    def set_default_action(self, table: str, action: ActionCall | None) -> None:
        """See Engine. Raises EngineError for a const default action."""
        live = self._tables[table]
        if live.table.default_const:
            raise EngineError(
                f"the default action of table {table!r} is const: {live.table.default_action.name!r}"
            )
        if action is None:
            live.default = live.own_default
            return
        check_action(live.table, action)
        live.default = live.default_for(action)

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

    def read_counter(self, counter: str, index: int) -> CounterData:
        """See Engine."""
        packets, octets = _cell(self._counters[counter], index, f"counter {counter!r}")
        return CounterData(packets, octets)

    def write_counter(self, counter: str, index: int, data: CounterData) -> None:
        """See Engine."""
        _cell(self._counters[counter], index, f"counter {counter!r}")[:] = data.packets, data.bytes

    def read_meter(self, meter: str, index: int) -> MeterConfig | None:
        """See Engine."""
        cell = _cell(self._meters[meter], index, f"meter {meter!r}")
        return None if cell is None else cell.config

    def write_meter(self, meter: str, index: int, config: MeterConfig | None) -> None:
        """See Engine. The buckets start full."""
        _cell(self._meters[meter], index, f"meter {meter!r}")
        self._meters[meter][index] = self._meter(config)

    def read_register(self, register: str, index: int) -> int:
        """A register's cell. Raises IndexError."""
        value: int = _cell(self._registers[register], index, f"register {register!r}")
        return value

    def write_register(self, register: str, index: int, value: int) -> None:
        """Writes a register's cell, truncated to its width. Raises IndexError."""
        _cell(self._registers[register], index, f"register {register!r}")
        self._registers[register][index] = value & ((1 << self.program.registers[register].width) - 1)

    def _meter(self, config: MeterConfig | None) -> TwoRateMeter | None:
        return None if config is None else TwoRateMeter(config, self._clock())

    def _writable(self, table: str) -> LiveTable:
        live = self._tables[table]
        if live.table.const_entries is not None:
            raise EngineError(f"table {table!r} has const entries; it cannot be written to")
        return live

    def _entry(self, table: str, key: EntryKey) -> LiveEntry:
        entry = self._tables[table].by_key.get(key)
        if entry is None:
            raise NoSuchEntry(
                f"table {table!r} has no entry with this key: {key.matches}, priority {key.priority}"
            )
        return entry


def _cell(cells: list[Any], index: int, what: str) -> Any:
    if not 0 <= index < len(cells):
        raise IndexError(f"{what} has {len(cells)} cells, no index {index}")
    return cells[index]


def _log_message(text: str, values: list[int]) -> None:
    for value in values:
        text = text.replace("{}", str(value), 1)
    log.info(text, origin="log_msg")


def _check_failed(kind: str) -> None:
    log.error("a check of the program failed", kind=kind)
