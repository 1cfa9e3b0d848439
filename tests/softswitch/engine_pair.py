# SPDX-License-Identifier: Apache-2.0
"""The interpreter and the compiled program side by side, on one clock: whatever is done to one is done to the other,
and everything that either shows is compared."""

from __future__ import annotations

import difflib
import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from hvchannel_softswitch.engine import (
    ActionCall,
    CounterData,
    EngineError,
    EntryKey,
    MeterConfig,
)
from hvchannel_softswitch.interpreter import Interpreter
from hvchannel_softswitch.model import Program
from hvchannel_softswitch.trace import Tracer
from hvchannel_softswitch.xdp.frames import CompiledEngine

SHORTEST = 14
"""Bytes. Nothing shorter leaves an XDP port; whether it leaves a probe is of no account."""

DROP_PORT = 511
_BOUND = "run the switch with --engine interpreter"
"""What the kernel's look-ups have bounds for, and the interpreter none."""


@dataclass
class Side:
    """One engine, and what came out of it."""

    engine: Any = None
    sent: list[tuple[int, bytes]] = field(default_factory=list)
    digests: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    idle: list[tuple[str, EntryKey]] = field(default_factory=list)

    def options(self) -> dict[str, Any]:
        return {
            "frames": lambda port, frame: self.sent.append((port, bytes(frame))),
            "digests": lambda name, values: self.digests.append((name, values)),
            "idle": lambda table, key: self.idle.append((table, key)),
            "drop_port": DROP_PORT,
        }

    def taken(self) -> tuple[Any, Any, Any]:
        """What came out since the last time."""
        found = self.sent, self.digests, self.idle
        self.sent, self.digests, self.idle = [], [], []
        return found


class Pair:
    """Both engines of one program."""

    def __init__(self, program: Program, cpu_port: int | None = None) -> None:
        self.program = program
        self.now = 1_000_000_000
        self.frames = self.sent = self.dropped = self.told = 0
        self._cpu_port = cpu_port
        one, other = Side(), Side()
        clock: Callable[[], int] = lambda: self.now  # noqa: E731 (both must have the very same)
        one.engine = Interpreter(program, **one.options(), clock=clock)
        other.engine = CompiledEngine(program, **other.options(), clock=clock, cpu_port=cpu_port)
        self.reference: Interpreter = one.engine
        self.compiled: CompiledEngine = other.engine
        self._sides = one, other
        self._traces: list[io.StringIO] = []

    def trace(self) -> None:
        """From now on what is told of each frame's way is compared, too."""
        self._traces = [io.StringIO(), io.StringIO()]
        for side, told in zip(self._sides, self._traces, strict=True):
            side.engine.set_tracer(Tracer(told, as_json=False))

    def close(self) -> None:
        self.compiled.close()

    def reset(self) -> None:
        """As just loaded, but for the clock."""
        for name, table in self.program.tables.items():
            if table.const_entries is None and table.keys:
                for entry in list(self.reference.entries(name)):
                    self.both("delete", name, entry.key)
                for entry in table.entries:
                    self.both("insert", name, entry.key, entry.action)
            if not table.default_const:
                self.both("set_default_action", name, None)
        for name, register in self.program.registers.items():
            for cell in range(register.size):
                self.both("write_register", name, cell, 0)
        for name, counter in self.program.counters.items():
            for cell in range(0 if counter.is_direct else counter.size):
                self.both("write_counter", name, cell, CounterData())
        for name, meter in self.program.meters.items():
            for cell in range(0 if meter.is_direct else meter.size):
                self.both("write_meter", name, cell, None)
        for group in list(self.reference.multicast_groups()):
            self.both("set_multicast_group", group, None)
        self.flush()

    def both(self, what: str, *arguments: Any) -> Any:
        """Calls a method of both: the same result, or an error of the same kind, which is the result then."""
        results = [self._call(side, what, arguments) for side in self._sides]
        first, second = results
        if isinstance(second, EngineError) and _BOUND in str(second) and what == "insert":
            self.reference.delete(*arguments[:2])
            return second
        if isinstance(first, Exception):
            assert type(first) is type(second), f"{what}{arguments}: {first!r} / {second!r}"
        else:
            assert first == second, f"{what}{arguments}: {first!r} / {second!r}"
        return first

    @staticmethod
    def _call(side: Side, what: str, arguments: tuple[Any, ...]) -> Any:
        try:
            return getattr(side.engine, what)(*arguments)
        except (EngineError, IndexError) as error:
            return error

    def insert(self, table: str, key: EntryKey, call: ActionCall, meter: MeterConfig | None = None) -> None:
        """An entry, with its meter."""
        if self.both("insert", table, key, call) is None and meter is not None:
            self.both("write_direct_meter", table, key, meter)

    def flush(self) -> None:
        """At the end of some writes."""
        self.both("flush")

    def process(self, port: int, frame: bytes) -> list[tuple[int, bytes]]:
        """One frame through both; what comes out must be the same."""
        for side in self._sides:
            side.engine.process(port, frame)
        assert self.reference.faults == 0, f"the interpreter fails on {frame.hex()}"
        first, second = (side.taken() for side in self._sides)
        # of PNA's 32 bits a probe carries 16, and the CPU port: a switch has no others
        long = [
            [
                sent
                for sent in taken[0]
                if len(sent[1]) >= SHORTEST and (sent[0] <= 0xFFFF or sent[0] == self._cpu_port)
            ]
            for taken in (first, second)
        ]
        where = f"of frame {frame.hex()} into port {port}"
        assert long[0] == long[1], f"sent {where}: {_shown(first[0])} / {_shown(second[0])}"
        assert first[1] == second[1], f"digests {where}: {first[1]} / {second[1]}"
        for one, other in [self._traces] if self._traces else []:
            told = [_timeless(one.getvalue()), _timeless(other.getvalue())]
            assert told[0] == told[1], f"trace {where}: {_difference(*told)}"
            for stream in (one, other):
                stream.seek(0)
                stream.truncate()
        self.frames += 1
        self.sent += len(first[0])
        self.dropped += not first[0]
        self.told += len(first[1])
        return long[0]

    def sweep(self) -> list[tuple[str, EntryKey]]:
        """The entries that were idle for their time."""
        for side in self._sides:
            side.engine.sweep_idle()
        first, second = (side.taken()[2] for side in self._sides)
        assert sorted(map(repr, first)) == sorted(map(repr, second))
        found: list[tuple[str, EntryKey]] = first
        return found

    def compare(self) -> None:
        """All that the control plane can read."""
        for what, arguments in _readable(self.program, self.reference):
            self.both(what, *arguments)


def _readable(program: Program, engine: Interpreter) -> Iterator[tuple[str, tuple[Any, ...]]]:
    for name, table in program.tables.items():
        yield "default_action", (name,)
        for entry in engine.entries(name):
            at = name, entry.key
            yield "entry", at
            if table.with_counters:
                yield "read_direct_counter", at
            if table.direct_meter is not None:
                yield "read_direct_meter", at
            if table.support_timeout:
                yield "idle_timeout", at
                yield "time_since_last_hit", at
    for name, register in program.registers.items():
        yield from (("read_register", (name, cell)) for cell in range(register.size))
    for name, counter in program.counters.items():
        if not counter.is_direct:
            yield from (("read_counter", (name, cell)) for cell in range(counter.size))
    for name, meter in program.meters.items():
        if not meter.is_direct:
            yield from (("read_meter", (name, cell)) for cell in range(meter.size))


@contextmanager
def pair(program: Program, cpu_port: int | None = None) -> Iterator[Pair]:
    """Both engines, closed at the end."""
    found = Pair(program, cpu_port)
    try:
        yield found
    finally:
        found.close()


def _timeless(trace: str) -> list[str]:
    # Each tells the time of a clock of its own.
    return re.sub(r" at [0-9.]+ s,", ",", trace).splitlines()


def _difference(one: list[str], other: list[str]) -> str:
    lines = difflib.unified_diff(one, other, lineterm="", n=0)
    return "; ".join(list(lines)[2:6])


def _shown(sent: list[tuple[int, bytes]]) -> str:
    return ", ".join(f"{frame.hex()} by port {port}" for port, frame in sent) or "nothing"
