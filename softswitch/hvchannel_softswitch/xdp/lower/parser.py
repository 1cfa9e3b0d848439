# SPDX-License-Identifier: Apache-2.0
"""The parser: one block per state."""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from hvchannel_softswitch.model import UnsupportedProgram
from hvchannel_softswitch.model import expressions as ex
from hvchannel_softswitch.model import statements as st
from hvchannel_softswitch.model.expressions import lookahead_bits
from hvchannel_softswitch.model.headers import Header
from hvchannel_softswitch.model.program import NO_MATCH, Case, ParseState, ValueSetCase
from hvchannel_softswitch.xdp.lower.events import Trace
from hvchannel_softswitch.xdp.lower.frame import Frame
from hvchannel_softswitch.xdp.lower.kernel import I1, I32, I64, POINTER, i64
from hvchannel_softswitch.xdp.lower.numbers import Numbers
from hvchannel_softswitch.xdp.lower.statements import Statements
from hvchannel_softswitch.xdp.lower.storage import Storage

MAX_STEPS = 256
"""States a packet may visit in a parser with loops; after that it is error.ParserTimeout."""

_MAX_POSITION = 0xFFFF
"""No frame is longer; told to the verifier, which must know a bound."""


class Parser:
    """Writes the parser. `error` is the variable with the parser error's number."""

    def __init__(
        self,
        frame: Frame,
        storage: Storage,
        numbers: Numbers,
        statements: Statements,
        trace: Trace | None,
        note: Callable[[str], None],
    ) -> None:
        self._f = frame
        self._b = frame.b
        self._s = storage
        self._n = numbers
        self._statements = statements
        self._trace = trace
        self._note = note
        self._program = frame.program
        self._parser = frame.program.parser
        self.error = frame.variable("error", I32)
        self._end = frame.block("parsed")
        self._blocks = {name: frame.block(f"state.{name}") for name in self._parser.order}
        self._fails: dict[str, ir.Block] = {}
        self._steps: ir.Value | None = None

    def write(self) -> None:
        """The whole parser; writing goes on after it. Raises UnsupportedProgram."""
        b, parser = self._b, self._parser
        b.store(ir.Constant(I32, self._program.errors["NoError"]), self.error)
        b.store(i64(0), self._f.position)
        places = {name: i for i, name in enumerate(parser.order)}
        if any(places[n] <= places[s] for s in parser.order for n in _following(parser.states[s])):
            self._steps = self._f.variable("steps", I64, i64(0))
        b.branch(self._end if parser.first is None else self._blocks[parser.first])
        for name in parser.order:
            b.position_at_end(self._blocks[name])
            self._note(f"parser state {name}")
            self._state(parser.states[name])
        for error, block in self._fails.items():
            b.position_at_end(block)
            b.store(ir.Constant(I32, self._program.errors[error]), self.error)
            b.branch(self._end)
        b.position_at_end(self._end)
        # Through memory, so that the verifier does not tell the ways through the parser apart from here on.
        block = self._f.get(self._f.cpu_block, POINTER)
        self._f.store(self._f.get(self._f.position), block, self._f.layout.cells)
        b.store(self._f.reload(block, self._f.layout.cells, I64), self._f.position)
        b.store(self._f.get(self.error, I32), self._f.at(block, self._f.layout.cells))
        b.store(self._f.reload(block, self._f.layout.cells, I32), self.error)

    def _state(self, state: ParseState) -> None:
        b = self._b
        if self._steps is not None:
            steps = b.add(self._f.get(self._steps), i64(1))
            b.store(steps, self._steps)
            self._need(b.icmp_unsigned("<=", steps, i64(MAX_STEPS)), "ParserTimeout")
        if self._trace is not None:
            self._trace.state(self._parser.order.index(state.name))
        for op in state.ops:
            self._operation(op)
        if state.cases:
            self._need_ahead(*state.key)
            parts = [(self._n.modulo(part.source, part.bits), part.bits) for part in state.key]
            for case in state.cases:
                if isinstance(case, ValueSetCase):
                    raise UnsupportedProgram(f"parser value set {case.value_set!r} is used")
                following = self._f.block("case")
                b.cbranch(self._matches(parts, case), self._target(case.next), following)
                b.position_at_end(following)
        b.branch(self._target(state.default))

    def _matches(self, parts: list[tuple[ir.Value, int]], case: Case) -> ir.Value:
        b = self._b
        holds: ir.Value = ir.Constant(I1, 1)
        shift = sum(bits for _, bits in parts)
        for value, bits in parts:
            shift -= bits
            full = (1 << bits) - 1
            mask, wanted = case.mask >> shift & full, case.value >> shift & full
            if mask == 0:
                continue
            looked_at = value if mask == full else b.and_(value, ir.Constant(value.type, mask))
            holds = b.and_(holds, b.icmp_unsigned("==", looked_at, ir.Constant(value.type, wanted)))
        return holds

    def _target(self, name: str | None) -> ir.Block:
        if name is None:
            return self._end
        return self._fail("NoMatch") if name == NO_MATCH else self._blocks[name]

    def _fail(self, error: str) -> ir.Block:
        if error not in self._fails:
            self._fails[error] = self._f.block(f"error.{error}")
        return self._fails[error]

    def _need(self, condition: ir.Value, error: str) -> None:
        going_on = self._f.block("parse")
        self._b.cbranch(condition, going_on, self._fail(error))
        self._b.position_at_end(going_on)

    def _need_bytes(self, size: int, position: ir.Value | None = None) -> ir.Value:
        """Goes on only if `size` bytes follow at `position`, the parser's own if None; gives their address."""
        if position is None:
            position = self._f.get(self._f.position)
        if self._steps is not None:
            self._need(self._b.icmp_unsigned("<=", position, i64(_MAX_POSITION)), "PacketTooShort")
        if self._f.padding:
            end = self._b.add(position, i64(size))
            self._need(self._b.icmp_unsigned("<=", end, self._f.get(self._f.length)), "PacketTooShort")
        start, there = self._f.in_frame(position, size)
        self._need(there, "PacketTooShort")
        return start

    def _need_ahead(self, *parts: object) -> None:
        bits = lookahead_bits(*parts)
        if bits:
            self._need_bytes((bits + 7) // 8)

    def _operation(self, op: st.ParserOp) -> None:
        match op:
            case st.Extract(varbit=None, header=name):
                self._extract(self._program.headers[name])
            case st.ExtractNext(varbit=None, stack=name):
                self._extract_next(name)
            case st.Extract(header=name) | st.ExtractNext(stack=name):
                raise UnsupportedProgram(f"{name!r} is extracted with a varbit field")
            case st.Verify(condition=condition, error=error):
                self._need_ahead(condition, error)
                number = self._n.modulo(error, 31)
                failed, going_on = self._f.block("verify.failed"), self._f.block("verified")
                self._b.cbranch(self._n.truth(condition), going_on, failed)
                self._b.position_at_end(failed)
                self._b.store(self._b.zext(number, I32), self.error)
                self._b.branch(self._end)
                self._b.position_at_end(going_on)
            case st.Advance(bits=bits):
                self._advance(bits)
            case _:
                self._need_ahead(op)
                self._statements.statement(op)

    def _extract(self, header: Header) -> None:
        size = header.type.width // 8
        start = self._need_bytes(size)
        position = self._f.get(self._f.position)
        if self._trace is not None:
            self._trace.extracted(header, position)
        self._s.extracted(header, start, position)
        self._b.store(self._b.add(position, i64(size)), self._f.position)

    def _extract_next(self, name: str) -> None:
        b, stack = self._b, self._program.stacks[name]
        place = self._s.next_of(stack)
        end = self._f.block("extracted")
        for i, header in enumerate(stack.headers):
            this, other = self._f.block(f"{name}.{i}"), self._f.block(f"{name}.not.{i}")
            b.cbranch(b.icmp_unsigned("==", self._f.get(place), i64(i)), this, other)
            b.position_at_end(this)
            self._extract(self._program.headers[header])
            b.store(i64(i + 1), place)
            b.branch(end)
            b.position_at_end(other)
        b.branch(self._fail("StackOutOfBounds"))
        b.position_at_end(end)

    def _advance(self, bits: ex.Expression) -> None:
        b = self._b
        self._need_ahead(bits)
        skip = self._n.index(bits)
        ragged = b.icmp_unsigned("!=", b.and_(skip, i64(7)), i64(0))
        self._need(b.not_(ragged), "ParserInvalidArgument")
        skip = b.select(b.icmp_signed("<", skip, i64(0)), i64(0), skip)
        position = b.add(self._f.get(self._f.position), b.lshr(skip, i64(3)))
        self._need(b.icmp_unsigned("<=", position, i64(_MAX_POSITION)), "PacketTooShort")
        self._need_bytes(0, position)
        b.store(position, self._f.position)


def _following(state: ParseState) -> list[str]:
    nexts = [*(case.next for case in state.cases), state.default]
    return [name for name in nexts if name is not None and name != NO_MATCH]
