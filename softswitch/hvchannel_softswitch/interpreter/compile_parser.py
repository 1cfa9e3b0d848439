# SPDX-License-Identifier: Apache-2.0
"""The parser as Python source: `pos` is its position in `frame`, `error` the parser error's number.

    while True:
        if state == 0:            # start
            ...
            state = 1
        if state == 1:            # parse_ipv4
            ...
            break                 # accept

States are laid out so that control falls downwards; only a loop in the P4 parser goes round the `while`.
"""

from __future__ import annotations

from hvchannel_softswitch.interpreter.compile_expressions import boolean, number
from hvchannel_softswitch.interpreter.compile_statements import StatementCompiler
from hvchannel_softswitch.interpreter.names import Names
from hvchannel_softswitch.interpreter.source import Source, masked
from hvchannel_softswitch.model import expressions as ex
from hvchannel_softswitch.model import statements as st
from hvchannel_softswitch.model.expressions import lookahead_bits
from hvchannel_softswitch.model.headers import Header
from hvchannel_softswitch.model.program import NO_MATCH, Parser, ParseState, ValueSetCase

MAX_STEPS = 1024
"""States a packet may visit in a parser with loops; after that it is error.ParserTimeout."""


class ParserCompiler:
    """Writes the parser."""

    def __init__(self, out: Source, names: Names, statements: StatementCompiler, *, trace: bool) -> None:
        self._out = out
        self._names = names
        self._statements = statements
        self._trace = trace
        self._program = names.program

    def parser(self, parser: Parser) -> None:
        """The whole parser."""
        out = self._out
        numbers = {name: i for i, name in enumerate(parser.order)}
        loops = any(
            numbers[following] <= numbers[name]
            for name in parser.order
            for following in self._following(parser.states[name])
        )
        if parser.first is None:
            return
        out.line("state = steps = 0" if loops else "state = 0")
        with out.block("while True:"):
            if loops:
                out.line("steps += 1")
                with out.block(f"if steps > {MAX_STEPS}:"):
                    self._fail("ParserTimeout")
            for name in parser.order:
                with out.block(f"if state == {numbers[name]}:"):
                    out.line(f"# {name}")
                    self._state(parser.states[name], numbers)

    @staticmethod
    def _following(state: ParseState) -> list[str]:
        nexts = [*(case.next for case in state.cases), state.default]
        return [name for name in nexts if name is not None and name != NO_MATCH]

    def _state(self, state: ParseState, numbers: dict[str, int]) -> None:
        if self._trace:
            self._out.line(f"trace.state({state.name!r})")
        for op in state.ops:
            self._operation(op)
        if not state.cases:
            self._go(state.default, numbers)
            return
        self._need_ahead(*state.key)
        width, pieces = sum(part.bits for part in state.key), []
        shift = width
        for part in state.key:
            shift -= part.bits
            value = masked(number(part.source, self._names), part.bits)
            pieces.append(f"{value} << {shift}" if shift else value)
        self._out.line(f"key = {' | '.join(pieces)}")
        for i, case in enumerate(state.cases):
            if isinstance(case, ValueSetCase):
                values = [masked(number(part.source, self._names), part.width) for part in state.key]
                members = f"value_set_{self._names.identifier(case.value_set)}"
                test = f"{members}.holds(({', '.join(values)},))"
            else:
                key = "key" if case.mask == (1 << width) - 1 else f"key & {case.mask:#x}"
                test = f"{key} == {case.value:#x}"
            with self._out.block(f"{'el' if i else ''}if {test}:"):
                self._go(case.next, numbers)
        with self._out.block("else:"):
            self._go(state.default, numbers)

    def _go(self, target: str | None, numbers: dict[str, int]) -> None:
        if target is None:
            self._out.line("break")
        elif target == NO_MATCH:
            self._fail("NoMatch")
        else:
            self._out.line(f"state = {numbers[target]}")

    def _fail(self, error: str) -> None:
        self._out.line(f"error = {self._program.errors[error]}  # {error}")
        self._out.line("break")

    def _need(self, bytes_: str, error: str = "PacketTooShort") -> None:
        with self._out.block(f"if {bytes_} > size:"):
            self._fail(error)

    def _need_ahead(self, *expressions: object) -> None:
        bits = lookahead_bits(*expressions)
        if bits:
            self._need(f"pos + {(bits + 7) // 8}")

    def _operation(self, op: st.ParserOp) -> None:
        out = self._out
        match op:
            case st.Extract(header=name, varbit=varbit):
                self._extract(self._program.headers[name], varbit)
            case st.ExtractNext(stack=name, varbit=varbit):
                headers = self._program.stacks[name].headers
                position = self._names.next_of(name)
                with out.block(f"if {position} >= {len(headers)}:"):
                    self._fail("StackOutOfBounds")
                for i, header in enumerate(headers):
                    with out.block(f"{'el' if i else ''}if {position} == {i}:"):
                        self._extract(self._program.headers[header], varbit)
                out.line(f"{position} += 1")
            case st.Verify(condition=condition, error=error):
                self._need_ahead(condition, error)
                with out.block(f"if not {boolean(condition, self._names)}:"):
                    out.line(f"error = {masked(number(error, self._names), 31)}")
                    out.line("break")
            case st.Advance(bits=bits):
                self._need_ahead(bits)
                out.line(f"skip = {number(bits, self._names).text}")
                with out.block("if skip & 7:"):
                    self._fail("ParserInvalidArgument")
                self._need("pos + max(skip, 0) // 8")
                out.line("pos += max(skip, 0) // 8")
            case _:
                self._need_ahead(op)
                self._statements.statement(op)

    def _extract(self, header: Header, varbit: ex.Expression | None) -> None:
        out, names, size = self._out, self._names, str(header.type.width // 8)
        if varbit is not None:
            self._need_ahead(varbit)
            out.line(f"bits = {number(varbit, names).text} & 0xffffffff")
            with out.block("if bits & 7:"):
                self._fail("ParserInvalidArgument")
            size = f"{size} + (bits >> 3)"
        out.line(f"end = pos + {size}")
        self._need("end")
        if varbit is not None:
            assert header.type.varbit is not None
            with out.block(f"if bits > {header.type.varbit.width}:"):
                self._fail("HeaderTooShort")
            out.line(f"{names.varbit_length(header.name)} = bits")
        if names.verbatim(header.type):
            out.line(f"{names.wire(header.name)} = frame[pos:end]")
        if names.needs_raw(header) or names.live(header.type):
            out.line(f"{names.raw(header.name)} = from_bytes(frame[pos:end])")
            names.unpack(out, header)
        if self._trace:
            out.line(f"trace.extracted({header.name!r}, frame[pos:end])")
        out.line("pos = end")
        self._statements.mark_valid(header)
