# SPDX-License-Identifier: Apache-2.0
"""What a program compiled for tracing tells, told on to a `Tracer`: one packet of a CPU after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hvchannel_softswitch.engine import ActionCall
from hvchannel_softswitch.trace import Tracer
from hvchannel_softswitch.xdp.compiled import CompiledProgram
from hvchannel_softswitch.xdp.reports import PROBE_SLOT, Kind, Record
from hvchannel_softswitch.xdp.tap import Tap
from hvchannel_softswitch.xdp.waiting import Steps, Waiting

if TYPE_CHECKING:
    from hvchannel_softswitch.xdp.frames import CompiledEngine

_NORMAL, _REPLICATED = 0, 5
"""Values of instance_type."""


class TraceReader:
    """Collects the records of each packet by its CPU, and tells them when the packet's way is over."""

    def __init__(self, engine: CompiledEngine, compiled: CompiledProgram) -> None:
        self.tracer: Tracer | None = None
        self.tap: Tap | None = None
        self._engine = engine
        self._compiled = compiled
        self._program = compiled.program
        self._tables = list(compiled.layout.tables.values())
        self._headers = list(self._program.headers)
        self._open: dict[int, Steps] = {}
        self._waiting = Waiting(self._tell)

    def digest(self, cpu: int, name: str, values: tuple[int, ...]) -> None:
        """A digest is sent by the packet that is on its way on this CPU."""
        if cpu in self._open:
            self._open[cpu].append((name, values))

    def record(self, record: Record) -> None:
        """Any other record."""
        cpu, words = record.cpu, record.words
        if record.kind is Kind.BEGIN:
            self._open[cpu] = [record]
            return
        if record.kind is Kind.REPLICA:
            before = self._waiting.steps(cpu, words[2])
            if before is None:
                self._open.pop(cpu, None)
            else:
                self._open[cpu] = before
        steps = self._open.get(cpu)
        if steps is None:
            return  # its beginning did not fit in the ring buffer
        if record.kind is not Kind.END:
            steps.append(record)
            return
        del self._open[cpu]
        last = steps[-1]
        if isinstance(last, Record) and last.kind is Kind.MULTICAST:
            _, count = self._engine.reach(last.words[0], live=last.words[1] < PROBE_SLOT)
            self._waiting.leave(steps, cpu, last.words[1], count)
        elif any(isinstance(step, Record) and step.kind is Kind.REPLICA for step in steps):
            self._waiting.ended(steps)
        else:
            self._tell(steps)

    def flush(self) -> None:
        """Tells of packets some of whose replicas have not come."""
        self._waiting.flush()

    def _tell(self, steps: Steps) -> None:
        first = steps[0]
        assert isinstance(first, Record)
        frame = bytes(first.frame)
        if self.tap is not None:
            self._tap(self.tap, first.words[0], frame, steps)
        tracer = self.tracer
        if tracer is None or tracer.exhausted:
            return
        tracer.begin(first.words[0], frame, first.words[1])
        for step in steps[1:]:
            if isinstance(step, Record):
                self._step(tracer, step, frame)
            else:
                tracer.digest(*step)
        tracer.end()

    @staticmethod
    def _tap(tap: Tap, port: int, frame: bytes, steps: Steps) -> None:
        tap.arrived(port, frame)
        for step in steps:
            if isinstance(step, Record) and step.kind is Kind.SENT:
                tap.sent(step.words[0], bytes(step.frame))

    def _step(self, tracer: Tracer, record: Record, frame: bytes) -> None:
        words = record.words
        match record.kind:
            case Kind.STATE:
                tracer.state(self._program.parser.order[words[0]])
            case Kind.EXTRACTED:
                name = self._headers[words[0]]
                size = self._program.headers[name].type.width // 8
                tracer.extracted(name, frame[words[1] : words[1] + size])
            case Kind.PARSER_ERROR:
                tracer.parser_error(words[0])
            case Kind.CHECKSUM_ERROR:
                tracer.checksum_error(self._program.verify[words[0]].name)
            case Kind.CONDITION:
                tracer.condition(self._compiled.conditions[words[0]].text, bool(words[1]))
            case Kind.TABLE:
                self._table(tracer, words.tolist())
            case Kind.STATEMENTS:
                table = self._tables[words[0]].table
                tracer.table(table.name, (), (), None, table.default_action)
            case Kind.DROPPED:
                tracer.dropped("egress" if words[0] else "ingress")
            case Kind.MULTICAST:
                replicas, _ = self._engine.reach(words[0], live=False)
                tracer.multicast(words[0], replicas)
            case Kind.UNICAST:
                tracer.egress(words[0], 0, _NORMAL)
            case Kind.REPLICA:
                tracer.egress(words[0], words[1], _REPLICATED)
            case Kind.SENT:
                tracer.sent(words[0], bytes(record.frame))

    def _table(self, tracer: Tracer, words: list[int]) -> None:
        place, hit, slot, action, *rest = words
        layout = self._tables[place]
        table = layout.table
        keys = layout.key.unpack(rest[: layout.key.words])
        arguments = layout.args[action].unpack(rest[layout.key.words :])
        # Its key as it is now: the entry may have gone since.
        found = self._engine.key_at(table.name, slot) if hit else None
        call = ActionCall(table.actions[action].name, arguments)
        tracer.table(table.name, tuple(key.name for key in table.keys), keys, found, call)
