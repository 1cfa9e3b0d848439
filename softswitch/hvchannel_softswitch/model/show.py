# SPDX-License-Identifier: Apache-2.0
"""Expressions as people write them, for traces of what p4c gives no source text for."""

from __future__ import annotations

from hvchannel_softswitch.model import expressions as ex

_WORDS = {"and": "&&", "or": "||", "not": "!"}


def show(expression: ex.Expression) -> str:
    """The expression in P4's words, near enough: without casts, with all parentheses."""
    match expression:
        case ex.Const(value=value):
            return hex(value)
        case ex.BoolConst(value=value):
            return str(value).lower()
        case ex.FieldRef(header=header, field=field):
            return f"{header}.{field}"
        case ex.ValidBit(header=name) | ex.Valid(header=ex.HeaderRef(name=name)):
            return f"{name}.isValid()"
        case ex.Valid(header=element):
            return f"{show(element)}.isValid()"
        case ex.AnyValid(headers=headers):
            return " || ".join(f"{name}.isValid()" for name in headers)
        case ex.HeaderRef(name=name) | ex.StackRef(name=name):
            return name
        case ex.UnionRef(members=members) | ex.UnionStackRef(stacks=members):
            return f"({', '.join(members)})"
        case ex.StackElement(stack=stack, index=index):
            return f"{stack}[{show(index)}]"
        case ex.ElementField(element=element, field=field):
            return f"{show(element)}.{field}"
        case ex.LastField(stack=stack, field=field):
            return f"{stack}.last.{field}"
        case ex.LastIndex(stack=stack):
            return f"{stack}.lastIndex"
        case ex.StackSize(stack=stack):
            return f"{stack}.size"
        case ex.ParamRef(index=index):
            return f"parameter {index}"
        case ex.Lookahead(width=width):
            return f"lookahead<bit<{width}>>()"
        case ex.RegisterCell(register=register, index=index):
            return f"{register}[{show(index)}]"
        case ex.Unary(op="d2b" | "b2d", operand=operand):
            return show(operand)
        case ex.Unary(op=op, operand=operand):
            return f"{_WORDS.get(op, op)}{show(operand)}"
        case ex.Binary(op="two_comp_mod" | "sat_cast" | "usat_cast", left=left):
            return show(left)
        case ex.Binary(op=op, left=left, right=right):
            return f"({show(left)} {_WORDS.get(op, op)} {show(right)})"
        case ex.Conditional(condition=condition, left=left, right=right):
            return f"({show(condition)} ? {show(left)} : {show(right)})"
