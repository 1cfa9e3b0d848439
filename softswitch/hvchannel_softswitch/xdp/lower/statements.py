# SPDX-License-Identifier: Apache-2.0
"""Statements of actions and parser states."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from llvmlite import ir

from hvchannel_softswitch.messages import messages
from hvchannel_softswitch.model import UnsupportedProgram
from hvchannel_softswitch.model import expressions as ex
from hvchannel_softswitch.model import statements as st
from hvchannel_softswitch.model.headers import Header, HeaderStack
from hvchannel_softswitch.xdp.layout import CELL
from hvchannel_softswitch.xdp.lower.calculations import Calculations
from hvchannel_softswitch.xdp.lower.events import Events
from hvchannel_softswitch.xdp.lower.frame import Frame, resized
from hvchannel_softswitch.xdp.lower.kernel import I1, I8, I32, I64, POINTER, i64
from hvchannel_softswitch.xdp.lower.meters import Meters
from hvchannel_softswitch.xdp.lower.numbers import Numbers
from hvchannel_softswitch.xdp.lower.storage import Storage
from hvchannel_softswitch.xdp.reports import MESSAGE_WORDS, Kind

NO_CUT = (1 << 32) - 1
"""The `cut` of a packet that nothing truncates."""


class Statements:
    """Writes statements. `exited` and `digest` are variables that later stages look at."""

    def __init__(
        self,
        frame: Frame,
        storage: Storage,
        numbers: Numbers,
        meters: Meters,
        events: Events,
        *,
        drop_port: int,
    ) -> None:
        self._f = frame
        self._b = frame.b
        self._s = storage
        self._n = numbers
        self._meters = meters
        self._events = events
        self._messages = messages(frame.program)
        self._calculations = Calculations(frame, storage, numbers)
        self._program = frame.program
        self._drop_port = drop_port
        self.learn_ids = {name: i + 1 for i, name in enumerate(self._program.learn_lists)}
        self.exited = frame.variable("exited", I1, ir.Constant(I1, 0))
        self.digest = frame.variable("digest", I8, ir.Constant(I8, 0))
        self.cut = frame.variable("cut", I64, i64(NO_CUT))
        self.truncates = any(isinstance(s, st.Truncate) for a in self._program.actions for s in a.body)

    def body(self, statements: tuple[st.Statement, ...]) -> None:
        """Statements in order, with their jumps."""
        jumps = {s.target for s in statements if isinstance(s, st.Jump)}
        if any(isinstance(s, st.Jump) and s.target <= i for i, s in enumerate(statements)):
            raise UnsupportedProgram("an action has a loop (a jump backwards)")
        blocks = {target: self._f.block(f"at{target}") for target in jumps}
        for position, statement in enumerate(statements):
            if position in blocks:
                self._f.here(blocks[position])
            if isinstance(statement, st.Jump):
                self._jump(statement, blocks[statement.target])
            else:
                self.statement(statement)
        for target in sorted(jumps):
            if target >= len(statements):
                self._f.here(blocks[target])

    def _jump(self, jump: st.Jump, target: ir.Block) -> None:
        after = self._f.block("after")
        if jump.condition is None:
            self._b.branch(target)
        else:
            number = self._n.exact(jump.condition)
            holds = self._b.icmp_unsigned("!=", number.value, ir.Constant(number.value.type, 0))
            self._b.cbranch(holds, after, target)
        self._b.position_at_end(after)

    def statement(self, statement: st.Statement) -> None:
        """One statement. Raises UnsupportedProgram."""
        match statement:
            case st.Assign(target=target, value=value):
                self.store(target, self._n.modulo(value, target.width))
            case st.AssignHeader(target=target, value=origin):
                self._on_header(target, lambda to: self._copy_header(to, origin))
            case st.AssignStack(target=target, value=value):
                self._copy_stack(self._program.stacks[target], self._program.stacks[value])
            case st.SetValid(header=header):
                self._on_header(header, self._s.set_valid)
            case st.SetInvalid(header=header):
                self._on_header(header, self._s.set_invalid)
            case st.PushFront(stack=name, count=count):
                self._push(self._program.stacks[name], count)
            case st.PopFront(stack=name, count=count):
                self._pop(self._program.stacks[name], count)
            case st.Exit():
                self._b.store(ir.Constant(I1, 1), self.exited)
            case st.MarkToDrop():
                spec = self._program.standard["egress_spec"]
                self.store(spec, ir.Constant(ir.IntType(spec.width), self._drop_port))
                if self._f.layout.replication is not None:
                    self._s.set_standard("mcast_grp", i64(0))
            case st.GenerateDigest(learn_list=name):
                self._b.store(ir.Constant(I8, self.learn_ids[name]), self.digest)
            case st.Truncate(length=length):
                wanted, cut = self._n.index(length), self._f.get(self.cut)
                shorter = self._b.icmp_signed("<", wanted, cut)
                self._b.store(self._b.select(shorter, wanted, cut), self.cut)
            case _:
                self._extern(statement)

    def _extern(self, statement: st.Statement) -> None:
        layout = self._f.layout
        match statement:
            case st.Count(counter=name, index=index):
                counter = layout.counters[name]
                with self._in_bounds(index, counter.size) as place:
                    self.count(counter.offset, place)
            case st.ExecuteMeter(meter=name, index=index, target=target):
                meter = layout.meters[name]
                with self._in_bounds(index, meter.size) as place:
                    cells = self._f.arena(meter.cells)
                    record = self._f.load(cells, self._b.mul(place, i64(4)), I32)
                    unit = self._program.meters[name].unit
                    colour = self._meters.colour(meter.pool, meter.records, record, unit)
                    self.store(target, resized(self._b, colour, target.width))
            case st.RegisterRead(register=name, index=index, target=target):
                register = layout.registers[name]
                with self._in_bounds(index, register.size) as place:
                    self.store(target, resized(self._b, self._n.cell(register, place), target.width))
            case st.RegisterWrite(register=name, index=index, value=value):
                register = layout.registers[name]
                bits = self._n.modulo(value, register.width)
                with self._in_bounds(index, register.size) as place:
                    address = self._n.cell_address(register, place)
                    whole = resized(self._b, bits, 64 * register.words)
                    for word in range(register.words):
                        part = self._b.lshr(whole, ir.Constant(whole.type, 64 * word)) if word else whole
                        self._f.store(resized(self._b, part, 64), address, 8 * word)
            case st.Hash(target=target, base=base, calculation=calculation, size=size):
                self._hash(target, base, calculation, size)
            case st.Random(target=target, low=low, high=high):
                self._random(target, low, high)
            case st.LogMessage(values=values):
                words = [word for value in values for word in self._message_words(value)]
                self._events.words(Kind.MESSAGE, [i64(self._messages[statement]), *words])
            case st.Check(condition=condition):
                with self._f.when(self._b.not_(self._n.truth(condition)), likely=False):
                    self._events.words(Kind.MESSAGE, [i64(self._messages[statement])])
            case _:
                raise UnsupportedProgram(f"{_NAMES.get(type(statement), type(statement).__name__)} is used")

    def _message_words(self, value: ex.Expression) -> list[ir.Value]:
        number, width = self._n.exact(value), 64 * MESSAGE_WORDS
        if number.width >= width:
            raise UnsupportedProgram(f"log_msg of a number of {number.width} bits (at most {width - 1})")
        whole = resized(self._b, number.value, width, signed=number.signed)
        shifts = (ir.Constant(whole.type, shift) for shift in range(0, width, 64))
        return [resized(self._b, self._b.lshr(whole, shift), 64) for shift in shifts]

    def store(self, target: st.LValue, value: ir.Value) -> None:
        """A number of the target's width to a field."""
        if isinstance(target, ex.FieldRef):
            self._s.write(target.header, target.field, value)
            return
        place = self._n.index(target.element.index)
        for i, header in enumerate(self._program.stacks[target.element.stack].headers):
            with self._f.when(self._b.icmp_unsigned("==", place, i64(i))):
                self._s.write(header, target.field, value)

    def count(self, offset: int, index: ir.Value) -> None:
        """One packet more in a cell of a counter. No other CPU writes this CPU's cells."""
        cell = self._f.at(
            self._f.at(self._f.get(self._f.cpu_block, POINTER), offset), self._b.mul(index, i64(CELL))
        )
        for place, amount in ((0, i64(1)), (8, self._f.get(self._f.length))):
            self._f.store(self._b.add(self._f.load(cell, place, I64), amount), cell, place)

    def calculate(self, calculation: st.Calculation) -> ir.Value:
        """A calculation's result. Raises UnsupportedProgram."""
        return self._calculations.result(calculation)

    def _hash(
        self, target: st.LValue, base: ex.Expression, calculation: st.Calculation, size: ex.Expression
    ) -> None:
        result = resized(self._b, self.calculate(calculation), 64)
        modulus = self._n.exact(size)
        if modulus.width > 64:
            raise UnsupportedProgram(f"a hash's size has {modulus.width} bits (at most 64)")
        divisor = resized(self._b, modulus.value, 64, signed=modulus.signed)
        positive = self._b.icmp_signed(">", divisor, i64(0))
        rest = self._b.urem(result, self._b.select(positive, divisor, i64(1)))
        wide = max(64, target.width)
        total = self._b.add(self._n.modulo(base, wide), resized(self._b, rest, wide))
        self.store(target, resized(self._b, total, target.width))

    def _random(self, target: st.LValue, low: ex.Expression, high: ex.Expression) -> None:
        least, most = self._n.index(low), self._n.index(high)
        span = self._b.add(self._b.sub(most, least), i64(1))
        with self._f.when(self._b.icmp_signed("<=", least, most)):
            bits = self._f.widen(self._f.kernel.random())
            bits = self._b.or_(self._b.shl(bits, i64(32)), self._f.widen(self._f.kernel.random()))
            all_of_them = self._b.icmp_unsigned("==", span, i64(0))
            within = self._b.urem(bits, self._b.select(all_of_them, i64(1), span))
            value = self._b.add(least, self._b.select(all_of_them, bits, within))
            self.store(target, resized(self._b, value, target.width))

    @contextmanager
    def _in_bounds(self, index: ex.Expression, size: int) -> Iterator[ir.Value]:
        place = self._n.index(index)
        with self._f.when(self._b.icmp_unsigned("<", place, i64(size))):
            yield place

    def _on_header(self, header: ex.HeaderRef | ex.StackElement, action: Callable[[Header], None]) -> None:
        if isinstance(header, ex.HeaderRef):
            action(self._program.headers[header.name])
            return
        place = self._n.index(header.index)
        for i, name in enumerate(self._program.stacks[header.stack].headers):
            with self._f.when(self._b.icmp_unsigned("==", place, i64(i))):
                action(self._program.headers[name])

    def _copy_header(self, target: Header, value: ex.HeaderRef | ex.StackElement) -> None:
        def copy(origin: Header) -> None:
            with self._b.if_else(self._s.valid(origin.name)) as (then, otherwise):
                with then:
                    self._s.copy(target, origin)
                    self._s.mark_valid(target)
                with otherwise:
                    self._s.set_invalid(target)

        self._on_header(value, copy)

    def _copy_stack(self, target: HeaderStack, value: HeaderStack) -> None:
        for to, name in zip(target.headers, value.headers, strict=True):
            self._copy_header(self._program.headers[to], ex.HeaderRef(name))
        self._b.store(self._f.get(self._s.next_of(value)), self._s.next_of(target))

    def _push(self, stack: HeaderStack, count: int) -> None:
        size, headers = len(stack.headers), [self._program.headers[h] for h in stack.headers]
        for i in range(size - 1, count - 1, -1):
            self._s.move(headers[i], headers[i - count])
        for i in range(min(count, size)):
            self._s.vacate(headers[i])
        self._shift(stack, count)

    def _pop(self, stack: HeaderStack, count: int) -> None:
        size, headers = len(stack.headers), [self._program.headers[h] for h in stack.headers]
        for i in range(size - count):
            self._s.move(headers[i], headers[i + count])
        for i in range(max(size - count, 0), size):
            self._s.vacate(headers[i])
        self._shift(stack, -count)

    def _shift(self, stack: HeaderStack, by: int) -> None:
        if not stack.leads:
            return
        position, b = self._s.next_of(stack), self._b
        moved = b.add(self._f.get(position), i64(by))
        bound = i64(len(stack.headers) if by > 0 else 0)
        beyond = b.icmp_signed(">" if by > 0 else "<", moved, bound)
        b.store(b.select(beyond, bound, moved), position)


_NAMES: dict[type, str] = {
    st.AssignVarbit: "a varbit field",
    st.Clone: "clone",
    st.Resubmit: "resubmit",
    st.Recirculate: "recirculate",
}
"""What the compiler has no words for, in the P4 programmer's."""
