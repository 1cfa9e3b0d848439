# SPDX-License-Identifier: Apache-2.0
"""Expressions, checked: numbers where numbers belong, booleans where booleans do."""

from __future__ import annotations

import functools
from enum import Enum

from hvchannel_softswitch.model import expressions as ex
from hvchannel_softswitch.model.headers import MAX_BITS, HeaderStack, HeaderType
from hvchannel_softswitch.model.reader import Place
from hvchannel_softswitch.model.scope import Scope, field_type, look_up

VALID_FIELD = "$valid$"

_NUMBER_OPS = ("+", "-", "*", "/", "%", "<<", ">>", "&", "|", "^", "two_comp_mod", "sat_cast", "usat_cast")
_ORDER_OPS = ("<", "<=", ">", ">=")
_EQUALITY_OPS = ("==", "!=")
_LOGIC_OPS = ("and", "or")
_UNARY_OPS = ("~", "not", "d2b", "b2d", "valid", "valid_union", "last_stack_index", "size_stack")
_OTHER_OPS = (
    "?",
    "dereference_header_stack",
    "dereference_union_stack",
    "access_field",
    "access_union_header",
)
SUPPORTED_OPS = ", ".join((*_NUMBER_OPS, *_ORDER_OPS, *_EQUALITY_OPS, *_LOGIC_OPS, *_UNARY_OPS, *_OTHER_OPS))
SUPPORTED_TYPES = (
    "field, hexstr, bool, header, header_stack, header_union, header_union_stack, stack_field, "
    "union_stack_field, expression, register, local, runtime_data, lookahead"
)


class Kind(Enum):
    """What an expression yields."""

    NUMBER = "a number"
    BOOLEAN = "a boolean"
    HEADER = "a header"
    STACK = "a header stack"
    UNION = "a header union"
    UNION_STACK = "a stack of header unions"


def kind_of(expression: ex.Expression) -> Kind:
    """What an expression that `load_expression` made yields."""
    match expression:
        case ex.BoolConst() | ex.Valid() | ex.AnyValid():
            return Kind.BOOLEAN
        case ex.Unary(op=op):
            return Kind.BOOLEAN if op in ("not", "d2b") else Kind.NUMBER
        case ex.Binary(op=op):
            return Kind.NUMBER if op in _NUMBER_OPS else Kind.BOOLEAN
        case ex.Conditional(left=left):
            return kind_of(left)
        case ex.HeaderRef() | ex.StackElement():
            return Kind.HEADER
        case ex.StackRef():
            return Kind.STACK
        case ex.UnionRef():
            return Kind.UNION
        case ex.UnionStackRef():
            return Kind.UNION_STACK
        case _:
            return Kind.NUMBER


def load_number(place: Place, scope: Scope) -> ex.Expression:
    """An expression that yields a number."""
    return _of_kind(place, scope, Kind.NUMBER)


def load_boolean(place: Place, scope: Scope) -> ex.Expression:
    """An expression that yields a boolean."""
    return _of_kind(place, scope, Kind.BOOLEAN)


def load_header(place: Place, scope: Scope) -> ex.HeaderRef | ex.StackElement:
    """An expression that yields a header."""
    header = _of_kind(place, scope, Kind.HEADER)
    assert isinstance(header, ex.HeaderRef | ex.StackElement)
    return header


def load_stack(place: Place, scope: Scope) -> str:
    """The name of a header stack."""
    stack = _of_kind(place, scope, Kind.STACK)
    assert isinstance(stack, ex.StackRef)
    return stack.name


def load_union(place: Place, scope: Scope) -> ex.UnionRef:
    """An expression that yields a header union."""
    union = _of_kind(place, scope, Kind.UNION)
    assert isinstance(union, ex.UnionRef)
    return union


def load_union_stack(place: Place, scope: Scope) -> tuple[str, ...]:
    """A stack of header unions, as the stacks of each member."""
    stack = _of_kind(place, scope, Kind.UNION_STACK)
    assert isinstance(stack, ex.UnionStackRef)
    return stack.stacks


def load_stacks(place: Place, scope: Scope) -> tuple[str, ...]:
    """A header stack, or a stack of header unions as the stacks of each member."""
    if kind_of(load_expression(place, scope)) is Kind.UNION_STACK:
        return load_union_stack(place, scope)
    return (load_stack(place, scope),)


def load_lvalue(place: Place, scope: Scope) -> ex.FieldRef | ex.ElementField:
    """Something a number can be stored to."""
    target = load_expression(place, scope)
    if not isinstance(target, ex.FieldRef | ex.ElementField):
        place.unsupported("storing to this", "a field of a header, of metadata or of a stack's element")
    header_type = (
        scope.headers[target.header].type
        if isinstance(target, ex.FieldRef)
        else scope.stacks[target.element.stack].type
    )
    if header_type.field(target.field).varbit:
        place.unsupported(f"storing a number to {target.field!r}, a varbit", "assign_VL from another varbit")
    return target


def _of_kind(place: Place, scope: Scope, kind: Kind) -> ex.Expression:
    expression = load_expression(place, scope)
    found = kind_of(expression)
    if found is not kind:
        place.malformed(f"expected {kind.value}, found {found.value}")
    return expression


def load_expression(place: Place, scope: Scope) -> ex.Expression:
    """Any expression: an object with `type` and `value`, or the inner object with `op`."""
    if place.maybe("op") is not None:
        return _operation(place, scope)
    kind, value = place.at("type").string(), place.maybe("value")
    if value is None:
        place.malformed("attribute 'value' is missing")
    value.where = place.where
    match kind:
        case "expression":
            return load_expression(value, scope)
        case "field":
            return _field(value, scope)
        case "hexstr":
            return ex.Const(value.hexadecimal())
        case "bool":
            return ex.BoolConst(value.boolean())
        case "header":
            return ex.HeaderRef(scope.header(value).name)
        case "header_stack":
            return ex.StackRef(scope.stack(value).name)
        case "header_union":
            return ex.UnionRef(look_up(scope.unions, value, "header union"))
        case "header_union_stack":
            return ex.UnionStackRef(look_up(scope.union_stacks, value, "stack of header unions"))
        case "union_stack_field":
            stack_place, member_place, field_place = value.tuple_of(3)
            stack = union_member(stack_place, member_place, scope)
            found = field_type(stack.type, field_place)
            return ex.LastField(stack.name, found.name, found.width, found.signed)
        case "stack_field":
            stack_place, field_place = value.tuple_of(2)
            stack = scope.stack(stack_place)
            found = field_type(stack.type, field_place)
            return ex.LastField(stack.name, found.name, found.width, found.signed)
        case "local" | "runtime_data":
            index = value.natural()
            if index >= len(scope.params):
                value.malformed(f"parameter {index} of an action that has {len(scope.params)}")
            return ex.ParamRef(index, scope.params[index].width)
        case "register":
            name, index_place = value.tuple_of(2)
            register = look_up(scope.registers, name, "register")
            return ex.RegisterCell(register.name, load_number(index_place, scope), register.width)
        case "lookahead":
            offset, width = value.tuple_of(2)
            return ex.Lookahead(offset.up_to(MAX_BITS, "bits"), width.up_to(MAX_BITS, "bits"))
        case _:
            return place.unsupported(f"value type {kind!r}", SUPPORTED_TYPES)


def _field(value: Place, scope: Scope) -> ex.Expression:
    header_place, field_place = value.tuple_of(2)
    if field_place.value == VALID_FIELD:
        return ex.ValidBit(scope.header(header_place).name)
    return scope.field(value)


def _operation(place: Place, scope: Scope) -> ex.Expression:
    op = place.at("op").string()
    here = Place(place.value, f"{place.where}, operator {op!r}")
    left, right = here.maybe("left"), here.at("right")
    if op in _UNARY_OPS:
        return _unary(op, right, scope)
    if op in ("+", "-") and left is None:
        operand = load_number(right, scope)
        return operand if op == "+" else ex.Unary("-", operand)
    if left is None:
        if op not in (*_NUMBER_OPS, *_ORDER_OPS, *_EQUALITY_OPS, *_LOGIC_OPS, *_OTHER_OPS):
            place.unsupported(f"operator {op!r}", SUPPORTED_OPS)
        here.malformed("attribute 'left' is missing")
    return _binary(op, here, left, right, scope)


def _unary(op: str, right: Place, scope: Scope) -> ex.Expression:
    match op:
        case "valid":
            return ex.Valid(load_header(right, scope))
        case "valid_union":
            return _valid_union(load_union(right, scope))
        case "last_stack_index":
            return ex.LastIndex(load_stacks(right, scope)[0])
        case "size_stack":
            return ex.StackSize(load_stacks(right, scope)[0])
        case "not" | "b2d":
            return ex.Unary(op, load_boolean(right, scope))
        case _:
            return ex.Unary(op, load_number(right, scope))


def _binary(op: str, here: Place, left: Place, right: Place, scope: Scope) -> ex.Expression:
    if op in _NUMBER_OPS:
        operand = load_number(right, scope)
        if op in ("two_comp_mod", "sat_cast", "usat_cast") and not (
            isinstance(operand, ex.Const) and 0 < operand.value <= MAX_BITS
        ):
            here.unsupported("a width that is not a constant of 1 to 65536", "constants, as p4c emits them")
        return ex.Binary(op, load_number(left, scope), operand)
    if op in _ORDER_OPS:
        return ex.Binary(op, load_number(left, scope), load_number(right, scope))
    if op in _LOGIC_OPS:
        return ex.Binary(op, load_boolean(left, scope), load_boolean(right, scope))
    if op in _EQUALITY_OPS:
        first, second = load_expression(left, scope), load_expression(right, scope)
        if kind_of(first) is not kind_of(second):
            here.malformed(f"compares {kind_of(first).value} with {kind_of(second).value}")
        if isinstance(first, ex.UnionRef) and isinstance(second, ex.UnionRef):
            return _equal_unions(op, here, first, second)
        if kind_of(first) in (Kind.STACK, Kind.UNION_STACK):
            here.unsupported("comparing stacks", "comparing numbers, booleans, headers, header unions")
        return ex.Binary(op, first, second)
    if op == "?":
        first, second = load_expression(left, scope), load_expression(right, scope)
        if kind_of(first) is not kind_of(second) or kind_of(first) not in (Kind.NUMBER, Kind.BOOLEAN):
            here.malformed("both results must be numbers, or both booleans")
        return ex.Conditional(load_boolean(here.at("cond"), scope), first, second)
    if op == "dereference_header_stack":
        return ex.StackElement(load_stack(left, scope), load_number(right, scope))
    if op == "dereference_union_stack":
        return ex.UnionRef(load_union_stack(left, scope), load_number(right, scope))
    if op == "access_union_header":
        union, number = load_union(left, scope), _place_in(right, scope)
        if number >= len(union.members):
            here.malformed(f"the header union has no member number {number}")
        return union_headers(union)[number]
    if op == "access_field":
        return _access_field(here, left, right, scope)
    return here.unsupported("it is not implemented", SUPPORTED_OPS)


def _access_field(here: Place, left: Place, right: Place, scope: Scope) -> ex.Expression:
    element, index = load_header(left, scope), _place_in(right, scope)
    header_type = type_of(element, scope)
    if index >= len(header_type.fields):
        here.malformed(f"header type {header_type.name!r} has no field number {index}")
    field = header_type.fields[index]
    if isinstance(element, ex.StackElement):
        return ex.ElementField(element, field.name, field.width, field.signed)
    return ex.FieldRef(element.name, field.name, field.width, field.signed)


def _place_in(place: Place, scope: Scope) -> int:
    """The number of a field or a member: bare, or as a constant."""
    if not isinstance(place.value, dict):
        return place.natural()
    constant = load_number(place, scope)
    if not isinstance(constant, ex.Const) or constant.value < 0:
        place.malformed("expected the number of a field or member, a constant")
    return constant.value


def union_headers(union: ex.UnionRef) -> tuple[ex.HeaderRef | ex.StackElement, ...]:
    """The members of a union."""
    if union.index is None:
        return tuple(ex.HeaderRef(member) for member in union.members)
    return tuple(ex.StackElement(member, union.index) for member in union.members)


def union_member(stack: Place, member: Place, scope: Scope) -> HeaderStack:
    """The stack of one member, by its name, of a stack of header unions."""
    stacks = look_up(scope.union_stacks, stack, "stack of header unions")
    by_name = {name.rpartition(".")[2]: scope.stacks[name] for name in stacks}
    return look_up(by_name, member, "member of the header union")


def _valid_union(union: ex.UnionRef) -> ex.Expression:
    if union.index is None:
        return ex.AnyValid(union.members)
    valid: list[ex.Expression] = [ex.Valid(header) for header in union_headers(union)]
    return functools.reduce(lambda left, right: ex.Binary("or", left, right), valid)


def _equal_unions(op: str, here: Place, first: ex.UnionRef, second: ex.UnionRef) -> ex.Expression:
    if len(first.members) != len(second.members):
        here.malformed("compares header unions of different types")
    pairs = zip(union_headers(first), union_headers(second), strict=True)
    same: list[ex.Expression] = [ex.Binary("==", left, right) for left, right in pairs]
    equal = functools.reduce(lambda left, right: ex.Binary("and", left, right), same)
    return equal if op == "==" else ex.Unary("not", equal)


def type_of(header: ex.HeaderRef | ex.StackElement, scope: Scope) -> HeaderType:
    """The type of a header."""
    return (
        scope.stacks[header.stack].type
        if isinstance(header, ex.StackElement)
        else scope.headers[header.name].type
    )


def width_of(expression: ex.Expression) -> int | None:
    """The width in bits of a field-like expression; None for computed ones."""
    match expression:
        case ex.ValidBit():
            return 1
        case (
            ex.FieldRef(width=width)
            | ex.ParamRef(width=width)
            | ex.LastField(width=width)
            | ex.ElementField(width=width)
            | ex.Lookahead(width=width)
            | ex.RegisterCell(width=width)
        ):
            return width
        case _:
            return None
