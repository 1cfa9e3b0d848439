# SPDX-License-Identifier: Apache-2.0
"""Expressions, checked: numbers where numbers belong, booleans where booleans do."""

from __future__ import annotations

from enum import Enum

from hvchannel_softswitch.model import expressions as ex
from hvchannel_softswitch.model.headers import HeaderType
from hvchannel_softswitch.model.reader import Place
from hvchannel_softswitch.model.scope import Scope, field_type, look_up

VALID_FIELD = "$valid$"

_NUMBER_OPS = ("+", "-", "*", "/", "%", "<<", ">>", "&", "|", "^", "two_comp_mod", "sat_cast", "usat_cast")
_ORDER_OPS = ("<", "<=", ">", ">=")
_EQUALITY_OPS = ("==", "!=")
_LOGIC_OPS = ("and", "or")
_UNARY_OPS = ("~", "not", "d2b", "b2d", "valid", "valid_union", "last_stack_index", "size_stack")
_OTHER_OPS = ("?", "dereference_header_stack", "access_field")
SUPPORTED_OPS = ", ".join((*_NUMBER_OPS, *_ORDER_OPS, *_EQUALITY_OPS, *_LOGIC_OPS, *_UNARY_OPS, *_OTHER_OPS))
SUPPORTED_TYPES = (
    "field, hexstr, bool, header, header_stack, stack_field, expression, register, local, runtime_data, "
    "lookahead"
)


class Kind(Enum):
    """What an expression yields."""

    NUMBER = "a number"
    BOOLEAN = "a boolean"
    HEADER = "a header"
    STACK = "a header stack"


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


def load_lvalue(place: Place, scope: Scope) -> ex.FieldRef | ex.ElementField:
    """Something a number can be stored to."""
    target = load_expression(place, scope)
    if not isinstance(target, ex.FieldRef | ex.ElementField):
        place.unsupported("storing to this", "a field of a header, of metadata or of a stack's element")
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
            return ex.Lookahead(offset.natural(), width.natural())
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
            return ex.AnyValid(look_up(scope.unions, right.at("value"), "header union"))
        case "last_stack_index":
            return ex.LastIndex(load_stack(right, scope))
        case "size_stack":
            return ex.StackSize(load_stack(right, scope))
        case "not" | "b2d":
            return ex.Unary(op, load_boolean(right, scope))
        case _:
            return ex.Unary(op, load_number(right, scope))


def _binary(op: str, here: Place, left: Place, right: Place, scope: Scope) -> ex.Expression:
    if op in _NUMBER_OPS:
        operand = load_number(right, scope)
        if op in ("two_comp_mod", "sat_cast", "usat_cast") and not (
            isinstance(operand, ex.Const) and operand.value > 0
        ):
            here.unsupported("a width that is not a positive constant", "constants, as p4c emits them")
        return ex.Binary(op, load_number(left, scope), operand)
    if op in _ORDER_OPS:
        return ex.Binary(op, load_number(left, scope), load_number(right, scope))
    if op in _LOGIC_OPS:
        return ex.Binary(op, load_boolean(left, scope), load_boolean(right, scope))
    if op in _EQUALITY_OPS:
        first, second = load_expression(left, scope), load_expression(right, scope)
        if kind_of(first) is not kind_of(second):
            here.malformed(f"compares {kind_of(first).value} with {kind_of(second).value}")
        if kind_of(first) is Kind.STACK:
            here.unsupported("comparing header stacks", "comparing numbers, booleans, headers")
        return ex.Binary(op, first, second)
    if op == "?":
        first, second = load_expression(left, scope), load_expression(right, scope)
        if kind_of(first) is not kind_of(second) or kind_of(first) not in (Kind.NUMBER, Kind.BOOLEAN):
            here.malformed("both results must be numbers, or both booleans")
        return ex.Conditional(load_boolean(here.at("cond"), scope), first, second)
    if op == "dereference_header_stack":
        return ex.StackElement(load_stack(left, scope), load_number(right, scope))
    if op == "access_field":
        return _access_field(here, left, right, scope)
    return here.unsupported("it is not implemented", SUPPORTED_OPS)


def _access_field(here: Place, left: Place, right: Place, scope: Scope) -> ex.Expression:
    element, index = load_header(left, scope), right.natural()
    header_type = type_of(element, scope)
    if index >= len(header_type.fields):
        here.malformed(f"header type {header_type.name!r} has no field number {index}")
    field = header_type.fields[index]
    if isinstance(element, ex.StackElement):
        return ex.ElementField(element, field.name, field.width, field.signed)
    return ex.FieldRef(element.name, field.name, field.width, field.signed)


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
