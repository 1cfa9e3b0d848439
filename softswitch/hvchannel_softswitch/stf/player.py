# SPDX-License-Identifier: Apache-2.0
"""Plays a test: the program on an engine of its own, statement by statement."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from contextlib import closing

from hvchannel_softswitch.engine import CounterData, EngineError, EntryKey
from hvchannel_softswitch.interpreter import Interpreter
from hvchannel_softswitch.model import Program
from hvchannel_softswitch.stf import language as stf
from hvchannel_softswitch.stf.commands import Commands
from hvchannel_softswitch.stf.engines import AnyEngine, StfEngine, engine_of
from hvchannel_softswitch.stf.resolve import Unresolved, action_of, key_of, pick, table_of
from hvchannel_softswitch.trace import Tracer

_OPERATORS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Failed(Exception):  # noqa: N818 (reads as the condition it names)
    """The test fails; the message says where and why, in one line."""


def play(
    program: Program,
    statements: Sequence[stf.Statement],
    tracer: Tracer | None = None,
    *,
    engine: StfEngine = StfEngine.INTERPRETER,
) -> None:
    """Plays a test to its end. Raises Failed, and UnsupportedProgram for a program that the engine does not take.

    What leaves on a port is compared with what is expected there, in order, at the end (and at each `no_packet`).
    Ports that the test does not mention have no wire: what is sent there is lost, as in p4c's own runner.
    """
    player = _Player(program, statements, engine)
    with closing(player.engine):
        player.engine.set_tracer(tracer)
        player.play(statements)


class _Player:
    def __init__(self, program: Program, statements: Sequence[stf.Statement], kind: StfEngine) -> None:
        self._program = program
        self.engine: AnyEngine = engine_of(kind, program, self._take)
        self._commands = Commands(self.engine)
        wired = {s.port for s in statements if isinstance(s, stf.Packet | stf.Expect)}
        self._sent: dict[int, list[bytes]] = {port: [] for port in sorted(wired)}
        self._expected: dict[int, list[stf.Expect]] = {port: [] for port in self._sent}
        self._labels: dict[str, tuple[str, EntryKey]] = {}

    def play(self, statements: Sequence[stf.Statement]) -> None:
        for statement in statements:
            try:
                self._do(statement)
            except (Unresolved, EngineError, IndexError, ValueError) as error:
                raise Failed(f"line {statement.line}: {error}") from error
        self._compare()

    def _take(self, port: int, frame: bytes) -> None:
        if port in self._sent:
            self._sent[port].append(frame)

    def _do(self, statement: stf.Statement) -> None:
        match statement:
            case stf.Add(table=name, action=call, label=label):
                table = table_of(self._program, name)
                key = key_of(table, statement)
                self.engine.insert(table.name, key, action_of(table, call))
                if label is not None:
                    self._labels[label] = (table.name, key)
            case stf.Remove(label=None):
                self._remove_all()
            case stf.Remove(label=str(label)):
                self.engine.delete(*self._labelled(label))
                del self._labels[label]
            case stf.SetDefault(table=name, action=call):
                table = table_of(self._program, name)
                self.engine.set_default_action(table.name, action_of(table, call))
            case stf.Packet(port=port, frame=frame):
                self.engine.flush()
                self.engine.process(port, frame)
                if isinstance(self.engine, Interpreter) and self.engine.faults:
                    raise Failed(f"line {statement.line}: the switch met a defect of its own on this packet")
            case stf.Expect(port=port):
                self._expected[port].append(statement)
            case stf.NoPacket():
                self._compare()
            case stf.CheckCounter():
                self._check_counter(statement)
            case stf.Command():
                self._commands.run(statement)

    def _remove_all(self) -> None:
        for name, table in self._program.tables.items():
            if table.const_entries is None:
                for entry in list(self.engine.entries(name)):
                    self.engine.delete(name, entry.key)
        self._labels.clear()

    def _labelled(self, label: str) -> tuple[str, EntryKey]:
        if label not in self._labels:
            raise Unresolved(
                f"no entry has the label {label!r} (there are: {', '.join(self._labels) or 'none'})"
            )
        return self._labels[label]

    def _check_counter(self, check: stf.CheckCounter) -> None:
        name = pick(check.counter, self._program.counters, "counter")
        data = self._counter_data(name, check.place)
        found = data.packets if check.unit == "packets" else data.bytes
        if not _OPERATORS[check.operator](found, check.value):
            raise Failed(
                f"line {check.line}: counter {name}({check.place}) has {found} {check.unit}, "
                f"expected {check.operator} {check.value}"
            )

    def _counter_data(self, name: str, place: int | str) -> CounterData:
        if isinstance(place, int):
            if self._program.counters[name].is_direct:
                raise Unresolved(f"counter {name!r} is direct: name an entry by its label, not by an index")
            return self.engine.read_counter(name, place)
        return self.engine.read_direct_counter(*self._labelled(place))

    def _compare(self) -> None:
        for port, expected in self._expected.items():
            sent = self._sent[port]
            for expect, frame in zip(expected, sent, strict=False):
                if (difference := _difference(expect, frame.hex())) is not None:
                    raise Failed(f"line {expect.line}: port {port}: {difference}")
            if len(sent) < len(expected):
                missing = expected[len(sent)]
                raise Failed(
                    f"line {missing.line}: port {port}: expected a packet, none came "
                    f"({len(sent)} of {len(expected)} did)"
                )
            if len(sent) > len(expected):
                raise Failed(
                    f"port {port}: {len(sent) - len(expected)} packets too many, "
                    f"the first {sent[len(expected)].hex()}"
                )


def _difference(expect: stf.Expect, found: str) -> str | None:
    if expect.digits is None:
        return None
    if len(found) < len(expect.digits) or (expect.exact and len(found) > len(expect.digits)):
        return f"{len(found) // 2} bytes, expected {len(expect.digits) // 2}: got {found}, expected {expect.digits}"
    for place, (wanted, digit) in enumerate(zip(expect.digits, found, strict=False)):
        if wanted not in ("*", digit):
            return f"differs at byte {place // 2}: got {found}, expected {expect.digits}"
    return None
