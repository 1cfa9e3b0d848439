# SPDX-License-Identifier: Apache-2.0
"""Expressions as Python source.

A boolean becomes something to use for its truth; a number an integer of any size, as bmv2 computes.
"""

from __future__ import annotations

from hvchannel_softswitch.interpreter.names import Names
from hvchannel_softswitch.interpreter.source import Code, mask
from hvchannel_softswitch.model import expressions as ex
from hvchannel_softswitch.model.headers import HeaderStack
from hvchannel_softswitch.model.load_expressions import Kind, kind_of

SAFE_SHIFT_BITS = 13
"""A shift by a number of at most this many bits cannot make an integer so long that it hurts."""


def number(expression: ex.Expression, names: Names) -> Code:
    """A number."""
    match expression:
        case ex.Const(value=value):
            text = hex(value) if value > 9 else str(value)
            return Code(f"({text})", None) if value < 0 else Code(text, value.bit_length())
        case ex.FieldRef(header=header, field=field, width=width, signed=signed):
            return Code(names.field(header, field), None if signed else width)
        case ex.ValidBit(header=header):
            return Code(names.valid(header), 1)
        case ex.ParamRef(index=index, width=width):
            return Code(f"p{index}", width)
        case ex.Lookahead():
            return _lookahead(expression)
        case ex.StackElement() | ex.HeaderRef() | ex.StackRef():
            raise AssertionError("not a number")
        case ex.ElementField(element=element, field=field, width=width, signed=signed):
            stack = names.program.stacks[element.stack]
            return Code(
                _pick(stack, number(element.index, names).text, field, names), None if signed else width
            )
        case ex.LastField(stack=name, field=field, width=width, signed=signed):
            stack = names.program.stacks[name]
            return Code(_pick(stack, f"{names.next_of(name)} - 1", field, names), None if signed else width)
        case ex.LastIndex(stack=name):
            return Code(f"({names.next_of(name)} - 1)")
        case ex.StackSize(stack=name):
            return Code(names.next_of(name), 32)
        case ex.RegisterCell(register=register, index=index, width=width):
            cell = f"register_cell(register_{names.identifier(register)}, {number(index, names).text})"
            return Code(cell, width)
        case ex.Unary(op="b2d", operand=operand):
            return Code(f"(1 if {boolean(operand, names)} else 0)", 1)
        case ex.Unary(op=op, operand=operand):
            return Code(f"({op}{number(operand, names).text})")
        case ex.Binary(op=op, left=left, right=right):
            return _arithmetic(op, number(left, names), number(right, names))
        case ex.Conditional(condition=condition, left=left, right=right):
            first, second = number(left, names), number(right, names)
            bits = None if first.bits is None or second.bits is None else max(first.bits, second.bits)
            return Code(f"({first.text} if {boolean(condition, names)} else {second.text})", bits)
        case _:
            raise AssertionError(f"not a number: {expression}")


def boolean(expression: ex.Expression, names: Names) -> str:
    """A truth value, safe in parentheses' stead."""
    match expression:
        case ex.BoolConst(value=value):
            return str(value)
        case ex.Valid(header=ex.HeaderRef(name=name)):
            return names.valid(name)
        case ex.Valid(header=ex.StackElement(stack=name, index=index)):
            valids = [names.valid(h) for h in names.program.stacks[name].headers]
            return f"pick({number(index, names).text}, ({', '.join(valids)},))"
        case ex.AnyValid(headers=headers):
            return f"({' or '.join(names.valid(h) for h in headers)})"
        case ex.Unary(op="d2b", operand=operand):
            return number(operand, names).text
        case ex.Unary(op="not", operand=operand):
            return f"(not {boolean(operand, names)})"
        case ex.Binary(op="and" | "or" as op, left=left, right=right):
            return f"({boolean(left, names)} {op} {boolean(right, names)})"
        case ex.Binary(op="==" | "!=" as op, left=left, right=right):
            return _equality(op, left, right, names)
        case ex.Binary(op=op, left=left, right=right):
            return f"({number(left, names).text} {op} {number(right, names).text})"
        case ex.Conditional(condition=condition, left=left, right=right):
            return f"({boolean(left, names)} if {boolean(condition, names)} else {boolean(right, names)})"
        case _:
            raise AssertionError(f"not a boolean: {expression}")


def _equality(op: str, left: ex.Expression, right: ex.Expression, names: Names) -> str:
    match kind_of(left):
        case Kind.NUMBER:
            return f"({number(left, names).text} {op} {number(right, names).text})"
        case Kind.BOOLEAN:
            return f"((not {boolean(left, names)}) {op} (not {boolean(right, names)}))"
        case _:
            return f"({header_value(left, names)} {op} {header_value(right, names)})"


def header_value(expression: ex.Expression, names: Names) -> str:
    """What two headers are compared by: all bits, or None for an invalid one (P4-16 section 8.17)."""
    if isinstance(expression, ex.HeaderRef):
        header = names.program.headers[expression.name]
        names.found.compared.add(header.type.name)
        if header.type.varbit is not None:
            names.found.changed.add(header.type.name)  # its fields are what is compared
            bits = f"({names.packed(header)}, {names.varbit_length(header.name)})"
            return f"({bits} if {names.valid(header.name)} else None)"
        return f"(({names.packed(header)}) if {names.valid(header.name)} else None)"
    assert isinstance(expression, ex.StackElement)
    stack = names.program.stacks[expression.stack]
    values = ", ".join(header_value(ex.HeaderRef(h), names) for h in stack.headers)
    return f"pick({number(expression.index, names).text}, ({values},), None)"


def _pick(stack: HeaderStack, index: str, field: str, names: Names) -> str:
    variables = ", ".join(names.field(header, field) for header in stack.headers)
    return f"pick({index}, ({variables},))"


def _lookahead(expression: ex.Lookahead) -> Code:
    first, last = expression.offset // 8, (expression.offset + expression.width + 7) // 8
    spare = 8 * last - expression.offset - expression.width
    start = f"pos + {first}" if first else "pos"
    text = f"from_bytes(frame[{start}:pos + {last}])"
    if spare:
        text += f" >> {spare}"
    if expression.offset % 8 or spare:
        text += f" & {mask(expression.width)}"
    return Code(f"({text})", expression.width)


def _arithmetic(op: str, left: Code, right: Code) -> Code:
    text = f"({left.text} {op} {right.text})"
    both = left.bits is not None and right.bits is not None
    match op:
        case "&":
            known = [bits for bits in (left.bits, right.bits) if bits is not None]
            return Code(text, min(known) if known else None)
        case "|" | "^":
            return Code(text, max(left.bits or 0, right.bits or 0) if both else None)
        case "+":
            return Code(text, max(left.bits or 0, right.bits or 0) + 1 if both else None)
        case "*":
            return Code(text, (left.bits or 0) + (right.bits or 0) if both else None)
        case "<<" if right.bits is None or right.bits > SAFE_SHIFT_BITS:
            return Code(f"shift_left({left.text}, {right.text})")
        case ">>" if right.bits is None:
            return Code(f"shift_right({left.text}, {right.text})", left.bits)
        case ">>":
            return Code(text, left.bits)
        case "/" | "%":
            return Code(f"{'quotient' if op == '/' else 'remainder'}({left.text}, {right.text})")
        case "two_comp_mod" | "sat_cast" | "usat_cast":
            width = int(right.text, 0)
            return Code(f"{op}({left.text}, {width})", width if op == "usat_cast" else None)
        case _:
            return Code(text)
