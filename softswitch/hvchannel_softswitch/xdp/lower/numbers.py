# SPDX-License-Identifier: Apache-2.0
"""Expressions as LLVM values.

Numbers in the model are integers of any size (bmv2 computes so); here a number is exact in as many bits as it can need
(`exact`), or known to be right in its low bits only, which is all that a store or a mask asks of sums, products and the
like (`modulo`).
"""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir

from hvchannel_softswitch.model import UnsupportedProgram
from hvchannel_softswitch.model import expressions as ex
from hvchannel_softswitch.model.load_expressions import Kind, kind_of
from hvchannel_softswitch.model.show import show
from hvchannel_softswitch.xdp.layout import RegisterLayout
from hvchannel_softswitch.xdp.lower.frame import Frame, resized
from hvchannel_softswitch.xdp.lower.kernel import I1, I64, POINTER, i64
from hvchannel_softswitch.xdp.lower.storage import Storage

_WORD = 64
_WIDEST = 4096
"""Bits of the widest intermediate result."""

_RING = frozenset("+-*&|^")
"""Operations whose low bits depend on their operands' low bits alone."""


@dataclass(frozen=True, slots=True)
class Number:
    """An exact integer: two's complement if `signed`."""

    value: ir.Value
    signed: bool

    @property
    def width(self) -> int:
        """In bits."""
        width: int = self.value.type.width
        return width


class Numbers:
    """Writes expressions. `arguments` are the parameters of the action being written."""

    def __init__(self, frame: Frame, storage: Storage) -> None:
        self._f = frame
        self._b = frame.b
        self._s = storage
        self.arguments: tuple[ir.Value, ...] = ()

    # --- low bits ---------------------------------------------------------------------------------------------------

    def modulo(self, expression: ex.Expression, width: int) -> ir.Value:
        """The number's low `width` bits."""
        kind, b = ir.IntType(width), self._b
        match expression:
            case ex.Const(value=value):
                return ir.Constant(kind, value & ((1 << width) - 1))
            case ex.Binary(op="&", left=left, right=ex.Const(value=value)) if 0 <= value < (1 << width) - 1:
                bits = max(1, value.bit_length())
                masked = self.modulo(left, bits)
                if value != (1 << bits) - 1:
                    masked = b.and_(masked, ir.Constant(masked.type, value))
                return resized(b, masked, width)
            case ex.Binary(op=op, left=left, right=right) if op in _RING:
                if op == "*" and width > _WORD:
                    raise self._refusal(expression, f"multiplies {width} bits (at most {_WORD})")
                return _ring(b, op, self.modulo(left, width), self.modulo(right, width))
            case ex.Binary(op="<<", left=left, right=ex.Const(value=count)):
                if count >= width:
                    return ir.Constant(kind, 0)
                return b.shl(self.modulo(left, width), ir.Constant(kind, max(count, 0)))
            case ex.Binary(op="<<", left=left, right=right):
                return self._shift("<<", Number(self.modulo(left, width), False), right, expression)
            case ex.Unary(op="~", operand=operand):
                return b.not_(self.modulo(operand, width))
            case ex.Unary(op="-", operand=operand):
                return b.neg(self.modulo(operand, width))
            case ex.Conditional(condition=condition, left=left, right=right):
                return b.select(self.truth(condition), self.modulo(left, width), self.modulo(right, width))
            case ex.Binary(op="two_comp_mod", left=left, right=ex.Const(value=bits)) if bits >= width:
                return self.modulo(left, width)
            case _:
                number = self.exact(expression)
                return resized(b, number.value, width, signed=number.signed)

    # --- exact ------------------------------------------------------------------------------------------------------

    def exact(self, expression: ex.Expression) -> Number:
        """The number itself."""
        match expression:
            case ex.Const(value=value):
                width = max(1, value.bit_length()) + (value < 0)
                return Number(ir.Constant(ir.IntType(width), value & ((1 << width) - 1)), value < 0)
            case ex.FieldRef(header=header, field=field, signed=signed):
                return Number(self._s.read(header, field), signed)
            case ex.ValidBit(header=header):
                return Number(self._s.valid(header), False)
            case ex.ParamRef(index=index):
                return Number(self.arguments[index], False)
            case ex.Lookahead():
                return Number(self._lookahead(expression), False)
            case ex.ElementField(element=element, field=field, signed=signed):
                return Number(self._element(element.stack, self.index(element.index), field), signed)
            case ex.LastField(stack=stack, field=field, signed=signed):
                return Number(self._element(stack, self._last(stack), field), signed)
            case ex.LastIndex(stack=stack):
                return Number(self._last(stack), True)
            case ex.StackSize(stack=stack):
                return Number(self._f.get(self._s.next_of(self._f.program.stacks[stack])), False)
            case ex.RegisterCell(register=register, index=index, width=width):
                return Number(
                    self.register_cell(self._f.layout.registers[register], self.index(index)), False
                )
            case ex.Unary(op="b2d", operand=operand):
                return Number(self.truth(operand), False)
            case ex.Unary(op="~" | "-", operand=operand):
                width = self.exact(operand).width + 1
                return Number(self.modulo(expression, width + 1), True)
            case ex.Binary():
                return self._binary(expression)
            case ex.Conditional(condition=condition, left=left, right=right):
                first, second, signed = self._alike(self.exact(left), self.exact(right))
                return Number(self._b.select(self.truth(condition), first, second), signed)
            case _:
                raise self._refusal(expression, "is no number")

    def _binary(self, expression: ex.Binary) -> Number:
        op, left, right, b = expression.op, expression.left, expression.right, self._b
        match op:
            case "&" if isinstance(right, ex.Const) and right.value >= 0:
                return Number(self.modulo(expression, max(1, right.value.bit_length())), False)
            case "&" | "|" | "^":
                first, second, signed = self._alike(self.exact(left), self.exact(right))
                return Number(_ring(b, op, first, second), signed)
            case "+" | "-" | "*":
                first, second = self.exact(left), self.exact(right)
                signed = op == "-" or first.signed or second.signed
                wide = first.width + second.width if op == "*" else max(first.width, second.width) + 2
                return Number(self.modulo(expression, self._bounded(wide, expression)), signed)
            case "<<" if isinstance(right, ex.Const):
                number = self.exact(left)
                wide = self._bounded(number.width + max(right.value, 0), expression)
                return Number(self.modulo(expression, wide), number.signed)
            case "<<":
                number, count = self.exact(left), self.exact(right)
                wide = self._bounded(number.width + (1 << min(count.width, 13)) - 1, expression)
                return Number(self.modulo(expression, wide), number.signed)
            case ">>":
                number = self.exact(left)
                return Number(self._shift(">>", number, right, expression), number.signed)
            case "/" | "%":
                return Number(self._division(op, expression), False)
            case "two_comp_mod":
                assert isinstance(right, ex.Const)
                return Number(self.modulo(left, right.value), True)
            case "sat_cast" | "usat_cast":
                assert isinstance(right, ex.Const)
                return self._saturated(self.exact(left), right.value, signed=op == "sat_cast")
            case _:
                raise self._refusal(expression, "is no number")

    def _shift(self, op: str, number: Number, count: ex.Expression, whole: ex.Expression) -> ir.Value:
        b, width = self._b, number.width
        if isinstance(count, ex.Const):
            places: ir.Value = ir.Constant(number.value.type, min(max(count.value, 0), width - 1))
            beyond: ir.Value = ir.Constant(I1, count.value >= width)
        else:
            exact = self.exact(count)
            if width > _WORD:
                raise self._refusal(whole, f"shifts {width} bits by a variable (at most {_WORD})")
            # bmv2 shifts by nothing when the count is negative.
            by = self._b.select(_negative(b, exact), ir.Constant(exact.value.type, 0), exact.value)
            common = max(width, exact.width)
            by = resized(b, by, common, signed=exact.signed)
            beyond = b.icmp_unsigned(">=", by, ir.Constant(by.type, width))
            places = b.select(beyond, ir.Constant(by.type, width - 1), by)
            places = resized(b, places, width)
        if op == "<<":
            return b.select(beyond, ir.Constant(number.value.type, 0), b.shl(number.value, places))
        if number.signed:
            return b.ashr(number.value, places)
        return b.select(beyond, ir.Constant(number.value.type, 0), b.lshr(number.value, places))

    def _division(self, op: str, expression: ex.Binary) -> ir.Value:
        first, second = self.exact(expression.left), self.exact(expression.right)
        wide = max(first.width, second.width)
        if first.signed or second.signed or wide > _WORD:
            raise self._refusal(expression, f"divides signed numbers, or more than {_WORD} bits")
        b = self._b
        dividend, divisor = resized(b, first.value, _WORD), resized(b, second.value, _WORD)
        # What eBPF says of a division by zero is not what bmv2 says.
        by_zero = b.icmp_unsigned("==", divisor, i64(0))
        safe = b.select(by_zero, i64(1), divisor)
        result = b.udiv(dividend, safe) if op == "/" else b.urem(dividend, safe)
        return resized(b, b.select(by_zero, i64(0), result), wide)

    def _saturated(self, number: Number, width: int, *, signed: bool) -> Number:
        b = self._b
        low, high = (-(1 << (width - 1)), (1 << (width - 1)) - 1) if signed else (0, (1 << width) - 1)
        wide = max(number.width + 1, width + 2)
        kind = ir.IntType(wide)
        value = resized(b, number.value, wide, signed=number.signed)
        least, most = ir.Constant(kind, low & ((1 << wide) - 1)), ir.Constant(kind, high)
        value = b.select(b.icmp_signed("<", value, least), least, value)
        value = b.select(b.icmp_signed(">", value, most), most, value)
        return Number(resized(b, value, width), signed)

    def _alike(self, first: Number, second: Number) -> tuple[ir.Value, ir.Value, bool]:
        """Both in one width and with one kind of sign."""
        signed = first.signed or second.signed
        width = max(n.width + (1 if signed and not n.signed else 0) for n in (first, second))
        values = [resized(self._b, n.value, width, signed=n.signed) for n in (first, second)]
        return values[0], values[1], signed

    # --- truth ------------------------------------------------------------------------------------------------------

    def truth(self, expression: ex.Expression) -> ir.Value:
        """A boolean, as one bit."""
        b = self._b
        match expression:
            case ex.BoolConst(value=value):
                return ir.Constant(I1, value)
            case ex.Valid(header=ex.HeaderRef(name=name)):
                return self._s.valid(name)
            case ex.Valid(header=ex.StackElement(stack=stack, index=index)):
                place = self.index(index)
                found: ir.Value = ir.Constant(I1, 0)
                for i, header in enumerate(self._f.program.stacks[stack].headers):
                    here = b.icmp_unsigned("==", place, i64(i))
                    found = b.or_(found, b.and_(here, self._s.valid(header)))
                return found
            case ex.AnyValid(headers=headers):
                found = ir.Constant(I1, 0)
                for header in headers:
                    found = b.or_(found, self._s.valid(header))
                return found
            case ex.Unary(op="d2b", operand=operand):
                number = self.exact(operand)
                return b.icmp_unsigned("!=", number.value, ir.Constant(number.value.type, 0))
            case ex.Unary(op="not", operand=operand):
                return b.not_(self.truth(operand))
            case ex.Binary(op="and", left=left, right=right):
                return self._short_circuit(left, right, stops_at=False)
            case ex.Binary(op="or", left=left, right=right):
                return self._short_circuit(left, right, stops_at=True)
            case ex.Binary(op="==" | "!=" as op, left=left, right=right):
                equal = self._equal(left, right, expression)
                return equal if op == "==" else b.not_(equal)
            case ex.Binary(op="<" | "<=" | ">" | ">=" as op, left=left, right=right):
                first, second, signed = self._alike(self.exact(left), self.exact(right))
                return b.icmp_signed(op, first, second) if signed else b.icmp_unsigned(op, first, second)
            case ex.Conditional(condition=condition, left=left, right=right):
                return b.select(self.truth(condition), self.truth(left), self.truth(right))
            case _:
                raise self._refusal(expression, "is no boolean")

    def _short_circuit(self, left: ex.Expression, right: ex.Expression, *, stops_at: bool) -> ir.Value:
        """The right side is looked at only if the left does not decide, which saves work, never changes the result."""
        first = self.truth(left)
        before = self._b.block
        second, end = self._f.block("second"), self._f.block("decided")
        if stops_at:
            self._b.cbranch(first, end, second)
        else:
            self._b.cbranch(first, second, end)
        self._b.position_at_end(second)
        value = self.truth(right)
        after = self._b.block
        self._f.here(end)
        phi = self._b.phi(I1)
        phi.add_incoming(ir.Constant(I1, stops_at), before)
        phi.add_incoming(value, after)
        return phi

    def _equal(self, left: ex.Expression, right: ex.Expression, whole: ex.Expression) -> ir.Value:
        b = self._b
        match kind_of(left):
            case Kind.NUMBER:
                first, second, _ = self._alike(self.exact(left), self.exact(right))
                return b.icmp_unsigned("==", first, second)
            case Kind.BOOLEAN:
                return b.icmp_unsigned("==", self.truth(left), self.truth(right))
            case _:
                if not (isinstance(left, ex.HeaderRef) and isinstance(right, ex.HeaderRef)):
                    raise self._refusal(whole, "compares headers by a computed index")
                return self._same_header(left.name, right.name)

    def _same_header(self, left: str, right: str) -> ir.Value:
        """Both invalid, or both valid with the same fields (P4-16 section 8.17)."""
        b = self._b
        same: ir.Value = ir.Constant(I1, 1)
        for field in self._f.program.headers[left].type.fields:
            here = b.icmp_unsigned("==", self._s.read(left, field.name), self._s.read(right, field.name))
            same = b.and_(same, here)
        both = b.icmp_unsigned("==", self._s.valid(left), self._s.valid(right))
        return b.and_(both, b.or_(same, b.not_(self._s.valid(left))))

    # --- places -----------------------------------------------------------------------------------------------------

    def index(self, expression: ex.Expression) -> ir.Value:
        """An index in 64 bits; one that is negative or needs more is one that nothing has."""
        number = self.exact(expression)
        if number.width <= _WORD - 1:
            return resized(self._b, number.value, _WORD, signed=number.signed)
        low = resized(self._b, number.value, _WORD)
        wide = resized(self._b, low, number.width) if number.width > _WORD else low
        fits = self._b.icmp_unsigned("==", wide, number.value)
        return self._b.select(fits, low, i64(-1))

    def register_cell(self, register: RegisterLayout, index: ir.Value) -> ir.Value:
        """A register's cell; 0 out of its bounds."""
        kind = ir.IntType(register.width)
        result = self._f.variable("cell", kind)
        self._b.store(ir.Constant(kind, 0), result)
        with self._f.when(self._b.icmp_unsigned("<", index, i64(register.size))):
            self._b.store(self.cell(register, index), result)
        return self._f.get(result, kind)

    def cell(self, register: RegisterLayout, index: ir.Value) -> ir.Value:
        """A register's cell within its bounds."""
        address = self.cell_address(register, index)
        value: ir.Value = ir.Constant(ir.IntType(64 * register.words), 0)
        for word in range(register.words):
            part = resized(self._b, self._f.load(address, 8 * word, I64), 64 * register.words)
            if word:
                part = self._b.shl(part, ir.Constant(part.type, 64 * word))
            value = self._b.or_(value, part)
        return resized(self._b, value, register.width)

    def cell_address(self, register: RegisterLayout, index: ir.Value) -> ir.Value:
        """Where a register's cell is."""
        return self._f.at(self._f.arena(register.offset), self._b.mul(index, i64(8 * register.words)))

    def _last(self, stack: str) -> ir.Value:
        return self._b.sub(self._f.get(self._s.next_of(self._f.program.stacks[stack])), i64(1))

    def _element(self, stack: str, index: ir.Value, field: str) -> ir.Value:
        headers = self._f.program.stacks[stack].headers
        kind = ir.IntType(self._f.program.headers[headers[0]].type.field(field).width)
        value: ir.Value = ir.Constant(kind, 0)
        for i, header in enumerate(headers):
            here = self._b.icmp_unsigned("==", index, i64(i))
            value = self._b.select(here, self._s.read(header, field), value)
        return value

    def _lookahead(self, expression: ex.Lookahead) -> ir.Value:
        """The parser has checked that the bits are there."""
        first, last = expression.offset // 8, (expression.offset + expression.width + 7) // 8
        start = self._f.at(self._f.get(self._f.data, POINTER), self._f.get(self._f.position))
        value = self._s.big_endian(start, first, last - first)
        spare = 8 * last - expression.offset - expression.width
        if spare:
            value = self._b.lshr(value, ir.Constant(value.type, spare))
        return resized(self._b, value, expression.width)

    def _bounded(self, width: int, expression: ex.Expression) -> int:
        if width > _WIDEST:
            raise self._refusal(expression, f"needs {width} bits (at most {_WIDEST})")
        return width

    @staticmethod
    def _refusal(expression: ex.Expression, why: str) -> UnsupportedProgram:
        return UnsupportedProgram(f"expression {show(expression)} {why}")


def _ring(b: ir.IRBuilder, op: str, left: ir.Value, right: ir.Value) -> ir.Value:
    match op:
        case "+":
            return b.add(left, right)
        case "-":
            return b.sub(left, right)
        case "*":
            return b.mul(left, right)
        case "&":
            return b.and_(left, right)
        case "|":
            return b.or_(left, right)
        case _:
            return b.xor(left, right)


def _negative(b: ir.IRBuilder, number: Number) -> ir.Value:
    if not number.signed:
        return ir.Constant(I1, 0)
    return b.icmp_signed("<", number.value, ir.Constant(number.value.type, 0))
