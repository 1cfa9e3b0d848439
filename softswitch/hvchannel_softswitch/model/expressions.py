# SPDX-License-Identifier: Apache-2.0
"""Expressions. Numbers are integers of any size and sign; a store truncates to the width of its target.

Every expression is a number, a boolean, a header or a stack; `load` has checked that operands fit their
operators.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Const:
    """A number."""

    value: int


@dataclass(frozen=True, slots=True)
class BoolConst:
    """A boolean."""

    value: bool


@dataclass(frozen=True, slots=True)
class FieldRef:
    """A field of a header."""

    header: str
    field: str
    width: int
    signed: bool = False


@dataclass(frozen=True, slots=True)
class ValidBit:
    """The hidden field `$valid$` of a header as a number, 0 or 1."""

    header: str


@dataclass(frozen=True, slots=True)
class ParamRef:
    """A parameter of the enclosing action."""

    index: int
    width: int


@dataclass(frozen=True, slots=True)
class Lookahead:
    """Bits of the packet from `offset` bits after the parser's position; the packet may be too short for
    them."""

    offset: int
    width: int


@dataclass(frozen=True, slots=True)
class HeaderRef:
    """A header."""

    name: str


@dataclass(frozen=True, slots=True)
class StackRef:
    """A header stack."""

    name: str


@dataclass(frozen=True, slots=True)
class StackElement:
    """The header at a computed index of a stack. Out of range it reads as an invalid header of zeros."""

    stack: str
    index: Expression


@dataclass(frozen=True, slots=True)
class UnionRef:
    """A header union, or with an index the one at that place of a stack of them: `members` are then the stacks
    of each member. Nothing but `load_expressions` sees it: what is done to a union is spelled out for its
    members."""

    members: tuple[str, ...]
    index: Expression | None = None


@dataclass(frozen=True, slots=True)
class UnionStackRef:
    """A stack of header unions, by the stacks of each member. See UnionRef."""

    stacks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ElementField:
    """A field of a header that is known by a computed index only."""

    element: StackElement
    field: str
    width: int
    signed: bool = False


@dataclass(frozen=True, slots=True)
class LastField:
    """A field of the header last extracted to a stack; 0 when there is none."""

    stack: str
    field: str
    width: int
    signed: bool = False


@dataclass(frozen=True, slots=True)
class LastIndex:
    """The index of the header last extracted to a stack."""

    stack: str


@dataclass(frozen=True, slots=True)
class StackSize:
    """How many headers of a stack are in use, counted from index 0."""

    stack: str


@dataclass(frozen=True, slots=True)
class RegisterCell:
    """A register's cell; 0 out of its bounds."""

    register: str
    index: Expression
    width: int


@dataclass(frozen=True, slots=True)
class Valid:
    """Whether a header is valid: a boolean."""

    header: HeaderRef | StackElement


@dataclass(frozen=True, slots=True)
class AnyValid:
    """Whether some member of a header union is valid: a boolean."""

    headers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unary:
    """`op` is one of: ~ - not d2b b2d."""

    op: str
    operand: Expression


@dataclass(frozen=True, slots=True)
class Binary:
    """`op` is one of: + - * / % << >> & | ^ two_comp_mod sat_cast usat_cast (numbers), == != < <= > >= and or
    (booleans). For headers == and != compare validity and all fields."""

    op: str
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Conditional:
    """`condition ? left : right`."""

    condition: Expression
    left: Expression
    right: Expression


Expression: TypeAlias = (
    Const
    | BoolConst
    | FieldRef
    | ValidBit
    | ParamRef
    | Lookahead
    | HeaderRef
    | StackRef
    | StackElement
    | UnionRef
    | UnionStackRef
    | ElementField
    | LastField
    | LastIndex
    | StackSize
    | RegisterCell
    | Valid
    | AnyValid
    | Unary
    | Binary
    | Conditional
)


def lookahead_bits(*expressions: object) -> int:
    """How many bits from the parser's position on the expressions look at; 0 if they do not look ahead."""
    reach = 0
    for expression in expressions:
        if isinstance(expression, Lookahead):
            reach = max(reach, expression.offset + expression.width)
        elif hasattr(expression, "__dataclass_fields__"):
            parts = [getattr(expression, f.name) for f in fields(expression)]  # type: ignore[arg-type]
            reach = max(reach, lookahead_bits(*parts))
    return reach
