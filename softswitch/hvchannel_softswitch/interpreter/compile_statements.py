# SPDX-License-Identifier: Apache-2.0
"""Statements of actions and parser states as Python source."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from hvchannel_softswitch.interpreter.compile_expressions import boolean, number
from hvchannel_softswitch.interpreter.features import MULTICAST_GROUP
from hvchannel_softswitch.interpreter.names import Names
from hvchannel_softswitch.interpreter.source import Code, Source, mask, masked
from hvchannel_softswitch.model import expressions as ex
from hvchannel_softswitch.model import statements as st
from hvchannel_softswitch.model.headers import Header, HeaderStack
from hvchannel_softswitch.model.program import MeterUnit

MAX_TURNS = 100_000
"""Turns of a loop in one action; after that it is left, logged and counted."""


class StatementCompiler:
    """Writes statements to a source; `learn_ids` numbers the learn lists, from 1."""

    def __init__(self, out: Source, names: Names, *, drop_port: int, replicates: bool) -> None:
        self._out = out
        self._names = names
        self._program = names.program
        self._drop_port = drop_port
        self._replicates = replicates
        self.learn_ids = {name: i + 1 for i, name in enumerate(self._program.learn_lists)}

    def body(self, statements: tuple[st.Statement, ...]) -> None:
        """Statements in order. The body is cut into blocks at the ends and targets of its jumps, and each block
        runs unless a jump has gone past it. Only a jump backwards goes round a `while`."""
        jumps = [(i, s.target) for i, s in enumerate(statements) if isinstance(s, st.Jump)]
        if jumps:
            self._out.line("jump = 0")
        if all(target > position for position, target in jumps):
            self._blocks(statements, jumps)
            return
        self._out.line("turns = 0")
        with self._out.block("while True:"):
            self._out.line("turns += 1")
            with self._out.block(f"if turns > {MAX_TURNS}:"):
                self._out.line("loop_stopped()")
                self._out.line("break")
            self._blocks(statements, jumps)
            self._out.line("break")

    def _blocks(self, statements: tuple[st.Statement, ...], jumps: list[tuple[int, int]]) -> None:
        loops = any(target <= position for position, target in jumps)
        cuts = sorted({0, *(i + 1 for i, _ in jumps), *(t for _, t in jumps)})
        for start, end in zip(cuts, [*cuts[1:], len(statements)], strict=True):
            if start >= len(statements):
                break
            if start == 0 and not loops:
                self._run(statements, start, end)
            else:
                with self._out.block(f"if jump <= {start}:"):
                    self._run(statements, start, end)

    def _run(self, statements: tuple[st.Statement, ...], start: int, end: int) -> None:
        for position in range(start, end):
            statement = statements[position]
            if isinstance(statement, st.Jump):
                self._jump(statement, backwards=statement.target <= position)
            else:
                self.statement(statement)

    def _jump(self, jump: st.Jump, *, backwards: bool) -> None:
        out = self._out
        test = "True" if jump.condition is None else f"not {number(jump.condition, self._names).text}"
        with out.block(f"if {test}:") if jump.condition is not None else nullcontext():
            out.line(f"jump = {jump.target}")
            if backwards:
                out.line("continue")

    def statement(self, statement: st.Statement) -> None:
        """One statement."""
        out, names = self._out, self._names
        match statement:
            case st.Assign(target=target, value=value):
                self.store(target, number(value, names))
            case st.AssignVarbit(target=target, value=origin):
                length = f"{names.varbit_length(target.header)} = {names.varbit_length(origin.header)}"
                self._resize_around(self._program.headers[target.header], length)
                value = names.field(origin.header, origin.field)
                out.line(f"{names.target(target.header, target.field)} = {value}")
            case st.AssignHeader(target=target, value=origin):
                self._on_header(target, lambda to: self._copy_header(to, origin))
            case st.AssignStack(target=target, value=value):
                pairs = zip(
                    self._program.stacks[target].headers, self._program.stacks[value].headers, strict=True
                )
                for to, name in pairs:
                    self._copy_header(self._program.headers[to], ex.HeaderRef(name))
                out.line(f"{names.next_of(target)} = {names.next_of(value)}")
            case st.SetValid(header=header):
                self._on_header(header, self._set_valid)
            case st.SetInvalid(header=header):
                self._on_header(header, self._set_invalid)
            case st.PushFront(stack=name, count=count):
                self._push(self._program.stacks[name], count)
            case st.PopFront(stack=name, count=count):
                self._pop(self._program.stacks[name], count)
            case st.Exit():
                out.line("exited = True")
            case st.MarkToDrop():
                self._mark_to_drop()
            case st.GenerateDigest(learn_list=name):
                out.line(f"digest = {self.learn_ids[name]}")
            case st.LogMessage(format=text, values=values):
                out.line(f"log_message({text!r}, [{', '.join(number(v, names).text for v in values)}])")
            case st.Check(kind=kind, condition=condition):
                with out.block(f"if not {boolean(condition, names)}:"):
                    out.line(f"check_failed({kind!r})")
            case st.Truncate(length=length):
                names.found.truncates = True
                out.line(f"cut = shorter(cut, {number(length, names).text})")
            case _:
                self._extern(statement)

    def _extern(self, statement: st.Statement) -> None:
        out, names = self._out, self._names
        match statement:
            case st.Count(counter=name, index=index):
                with self._in_bounds(f"counter_{names.identifier(name)}", index):
                    out.line("cell[0] += 1")
                    out.line("cell[1] += size")
            case st.ExecuteMeter(meter=name, index=index, target=target):
                with self._in_bounds(f"meter_{names.identifier(name)}", index):
                    self.store(target, self.meter_colour("cell", self._program.meters[name].unit))
            case st.RegisterRead(register=name, index=index, target=target):
                with self._in_bounds(f"register_{names.identifier(name)}", index):
                    self.store(target, Code("cell", self._program.registers[name].width))
            case st.RegisterWrite(register=name, index=index, value=value):
                register = self._program.registers[name]
                cells = f"register_{names.identifier(name)}"
                with self._in_bounds(cells, index):
                    out.line(f"{cells}[index] = {masked(number(value, names), register.width)}")
            case st.Hash(target=target, base=base, calculation=calculation, size=size):
                self.calculate(calculation)
                out.line(f"modulus = {number(size, names).text}")
                self.store(
                    target, Code(f"({number(base, names).text} + (result % modulus if modulus > 0 else 0))")
                )
            case st.Random(target=target, low=low, high=high):
                out.line(f"low, high = {number(low, names).text}, {number(high, names).text}")
                with out.block("if low <= high:"):
                    self.store(target, Code("random_number(low, high)"))
            case st.Clone(session=session, field_list=kept):
                out.line(f"clone, clone_list = {number(session, names).text} & 0x7fff, {kept}")
            case st.Resubmit(field_list=kept):
                out.line(f"resubmit = {kept}")
            case st.Recirculate(field_list=kept):
                out.line(f"recirculate = {kept}")
            case _:
                raise AssertionError(f"not a statement: {statement}")

    def store(self, target: st.LValue, value: Code) -> None:
        """A number to a field, truncated."""
        if isinstance(target, ex.FieldRef):
            self._out.line(f"{self._names.target(target.header, target.field)} = {_truncated(value, target)}")
            return
        stack = self._program.stacks[target.element.stack]
        self._out.line(f"value = {_truncated(value, target)}")
        self._out.line(f"place = {number(target.element.index, self._names).text}")
        for i, header in enumerate(stack.headers):
            with self._out.block(f"{'el' if i else ''}if place == {i}:"):
                self._out.line(f"{self._names.target(header, target.field)} = value")

    def meter_colour(self, meter: str, unit: MeterUnit) -> Code:
        """Runs a meter; one without configuration is green."""
        amount = "size" if unit is MeterUnit.BYTES else "1"
        return Code(f"(0 if {meter} is None else {meter}.execute({amount}, now()))", 2)

    def calculate(self, calculation: st.Calculation) -> None:
        """Leaves a calculation's result in `result`. The input is put together as one number, group by group
        of parts that are valid together, and padded to whole bytes."""
        out = self._out
        groups: list[tuple[str | None, list[st.CalculationPart]]] = []
        for part in calculation.parts:
            if groups and groups[-1][0] == part.header and not (part.varbit or groups[-1][1][-1].varbit):
                groups[-1][1].append(part)
            else:
                groups.append((part.header, [part]))
        always = all(part.header is None and not part.varbit for part in calculation.parts)
        text, width = "0", 0
        if not always:
            out.line("bits = width = 0")
        for header, parts in groups:
            if parts[0].varbit:
                self._add_varbit(parts[0])
                continue
            group, group_width = self._concatenated(parts)
            if always:
                text = group if text == "0" else f"{text} << {group_width} | {group}"
                width += group_width
                continue
            with out.block(f"if {self._names.valid(header) if header else 'True'}:"):
                out.line(f"bits = bits << {group_width} | {group}")
                out.line(f"width += {group_width}")
        if always:
            out.line(f"bits, width = {text}, {width}")
        out.line("data = (bits << -width % 8).to_bytes((width + 7) // 8)")
        payload = " + frame[pos:]" if calculation.payload else ""
        out.line(f"result = hash_{self._names.identifier(calculation.name)}(data{payload})")

    def _add_varbit(self, part: st.CalculationPart) -> None:
        assert isinstance(part.value, ex.FieldRef)
        with self._out.block(f"if {self._names.valid(part.header) if part.header else 'True'}:"):
            length = self._names.varbit_length(part.value.header)
            self._out.line(f"bits = bits << {length} | {number(part.value, self._names).text}")
            self._out.line(f"width += {length}")

    def _concatenated(self, parts: list[st.CalculationPart]) -> tuple[str, int]:
        width = sum(part.width for part in parts)
        shift, pieces = width, []
        for part in parts:
            shift -= part.width
            value = masked(number(part.value, self._names), part.width)
            pieces.append(f"{value} << {shift}" if shift else value)
        return f"({' | '.join(pieces)})", width

    @contextmanager
    def _in_bounds(self, cells: str, index: ex.Expression) -> Iterator[None]:
        self._out.line(f"index = {number(index, self._names).text}")
        with self._out.block(f"if 0 <= index < len({cells}):"):
            self._out.line(f"cell = {cells}[index]")
            yield

    def _on_header(self, header: ex.HeaderRef | ex.StackElement, action: Callable[[Header], None]) -> None:
        if isinstance(header, ex.HeaderRef):
            action(self._program.headers[header.name])
            return
        self._out.line(f"index = {number(header.index, self._names).text}")
        for i, name in enumerate(self._program.stacks[header.stack].headers):
            with self._out.block(f"{'el' if i else ''}if index == {i}:"):
                action(self._program.headers[name])

    def _copy_header(self, target: Header, value: ex.HeaderRef | ex.StackElement) -> None:
        def copy(origin: Header) -> None:
            with self._out.block(f"if {self._names.valid(origin.name)}:"):
                self._names.copy(self._out, target, origin)
                self.mark_valid(target)
            with self._out.block("else:"):
                self._set_invalid(target)

        self._on_header(value, copy)

    def mark_valid(self, header: Header) -> None:
        """Valid, its bits as they are; the other members of its union invalid."""
        if header.metadata:
            return
        self._out.line(f"{self._names.valid(header.name)} = 1")
        for peer in header.peers:
            self._set_invalid(self._program.headers[peer])

    def _set_valid(self, header: Header) -> None:
        self._names.found.changed.add(header.type.name)
        with self._out.block(f"if not {self._names.valid(header.name)}:"):
            self._names.clear(self._out, header)
            self._resize("+", header)
        self.mark_valid(header)

    def _set_invalid(self, header: Header) -> None:
        if header.metadata:
            return
        with self._out.block(f"if {self._names.valid(header.name)}:"):
            self._resize("-", header)
            self._out.line(f"{self._names.valid(header.name)} = 0")

    def _resize(self, sign: str, header: Header) -> None:
        if self._names.standard("packet_length") is not None:
            self._out.line(f"length {sign}= {self._names.octets(header)}")

    def _resize_around(self, header: Header, change: str) -> None:
        """A change of a varbit field's length."""
        self._names.found.changed.add(header.type.name)
        if header.metadata:
            self._out.line(change)
            return
        with self._out.block(f"if {self._names.valid(header.name)}:"):
            self._resize("-", header)
        self._out.line(change)
        with self._out.block(f"if {self._names.valid(header.name)}:"):
            self._resize("+", header)

    def _push(self, stack: HeaderStack, count: int) -> None:
        size, headers = len(stack.headers), [self._program.headers[h] for h in stack.headers]
        for i in range(size - 1, count - 1, -1):
            self._move(headers[i], headers[i - count])
        for i in range(min(count, size)):
            self._vacate(headers[i])
        if not stack.leads:
            return
        name = self._names.next_of(stack.name)
        self._out.line(f"{name} = min({size}, {name} + {count})")

    def _pop(self, stack: HeaderStack, count: int) -> None:
        size, headers = len(stack.headers), [self._program.headers[h] for h in stack.headers]
        for i in range(size - count):
            self._move(headers[i], headers[i + count])
        for i in range(max(size - count, 0), size):
            self._vacate(headers[i])
        if not stack.leads:
            return
        name = self._names.next_of(stack.name)
        self._out.line(f"{name} = max(0, {name} - {count})")

    def _move(self, target: Header, origin: Header) -> None:
        self._names.copy(self._out, target, origin)
        self._out.line(f"{self._names.valid(target.name)} = {self._names.valid(origin.name)}")

    def _vacate(self, header: Header) -> None:
        self._out.line(f"{self._names.valid(header.name)} = 0")

    def _mark_to_drop(self) -> None:
        egress_spec = self._program.standard["egress_spec"]
        self.store(egress_spec, Code(str(self._drop_port), self._drop_port.bit_length()))
        group = self._program.standard.get(MULTICAST_GROUP)
        if self._replicates and group is not None:
            self.store(group, Code("0", 0))


def _truncated(value: Code, target: ex.FieldRef | ex.ElementField) -> str:
    if not target.signed:
        return masked(value, target.width)
    sign = hex(1 << (target.width - 1))
    return f"((({value.text} & {mask(target.width)}) ^ {sign}) - {sign})"
