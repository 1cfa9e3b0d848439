# SPDX-License-Identifier: Apache-2.0
"""The parser: states, their operations, their transitions."""

from __future__ import annotations

from hvchannel_softswitch.model import expressions as ex
from hvchannel_softswitch.model import statements as st
from hvchannel_softswitch.model.graph import order_of
from hvchannel_softswitch.model.headers import HeaderType
from hvchannel_softswitch.model.load_expressions import (
    load_boolean,
    load_expression,
    load_lvalue,
    load_number,
    union_member,
    width_of,
)
from hvchannel_softswitch.model.load_statements import load_primitive
from hvchannel_softswitch.model.program import (
    NO_MATCH,
    Case,
    KeyPart,
    Parser,
    ParseState,
    ValueSet,
    ValueSetCase,
)
from hvchannel_softswitch.model.reader import Place, choices
from hvchannel_softswitch.model.scope import Scope, look_up

UNSIZED = 1024
"""The size of a value set whose program does not say: p4c has always said."""

_SUPPORTED_OPS = "extract, extract_VL (regular, stack, union_stack), set, verify, advance, shift, primitive"


def load_parser(root: Place, scope: Scope) -> Parser:
    """The program's parser."""
    parsers = root.objects("parsers", "parser")
    if len(parsers) != 1:
        root.unsupported(f"{len(parsers)} parsers", "one parser")
    place = parsers[0]
    for vset in root.objects("parse_vsets", "parser value set"):
        name, width, size = vset.at("name").string(), vset.at("compressed_bitwidth"), vset.maybe("max_size")
        scope.value_sets[name] = ValueSet(name, (width.natural(),), size.natural() if size else UNSIZED)
    used: set[str] = set()
    states = {}
    for item in place.objects("parse_states", "parser state"):
        state = _state(item, scope, used)
        states[state.name] = state
    first_place = place.maybe("init_state")
    first = first_place.string() if first_place else None
    for state in states.values():
        for target in _successors(state):
            if target not in states:
                place.malformed(
                    f"state {state.name!r} goes to {target!r}, which does not exist ({choices(states)})"
                )
    if first is not None and first not in states:
        place.malformed(f"first state {first!r} does not exist ({choices(states)})")
    order, _ = order_of(first, lambda name: _successors(states[name]))
    return Parser(place.at("name").string(), first, states, order)


def _successors(state: ParseState) -> list[str]:
    nexts = [case.next for case in state.cases] + [state.default]
    return [name for name in nexts if name is not None and name != NO_MATCH]


def _value_set(place: Place, key: tuple[KeyPart, ...], scope: Scope, used: set[str]) -> str:
    """The value set of a transition; its members are matched with the state's key, field by field."""
    value_set = look_up(scope.value_sets, place.at("value"), "parser value set")
    if place.maybe("mask") is not None:
        place.unsupported("a mask on a parser value set", "no mask, as p4c emits them")
    widths = tuple(part.width for part in key)
    known = value_set.widths if value_set.name in used else (sum(value_set.widths),)
    if widths != known and (value_set.name in used or (sum(widths),) != known):
        place.malformed(
            f"parser value set {value_set.name!r} has keys of {known} bits, the state of {widths}"
        )
    scope.value_sets[value_set.name] = ValueSet(value_set.name, widths, value_set.size)
    used.add(value_set.name)
    return value_set.name


def _state(place: Place, scope: Scope, used: set[str]) -> ParseState:
    ops: list[st.ParserOp] = []
    for number, item in enumerate(place.at("parser_ops").items("item")):
        item.where = f"{place.where}, operation {number}"
        ops += _operation(item, scope)
    key = tuple(_key_part(item, scope) for item in place.at("transition_key").items("item"))
    bits = sum(part.bits for part in key)
    cases: list[Case | ValueSetCase] = []
    default: str | None = NO_MATCH if key else None
    for item in place.at("transitions").items("item"):
        target = item.maybe("next_state")
        following = target.string() if target else None
        kind = item.maybe("type")
        if (kind is not None and kind.value == "default") or item.at("value").value == "default":
            default = following
            break
        if not key:
            item.malformed("a transition on a value, but the state has no transition_key")
        if kind is not None and kind.value == "parse_vset":
            cases.append(ValueSetCase(_value_set(item, key, scope, used), following))
            continue
        if kind is not None and kind.value != "hexstr":
            item.unsupported(f"transition type {kind.value!r}", "default, hexstr, parse_vset")
        full = (1 << bits) - 1
        mask_place = item.maybe("mask")
        mask = mask_place.hexadecimal() & full if mask_place else full
        cases.append(Case(item.at("value").hexadecimal() & mask, mask, following))
    return ParseState(place.at("name").string(), tuple(ops), key, tuple(cases), default)


def _key_part(place: Place, scope: Scope) -> KeyPart:
    source = load_expression(place, scope)
    width = width_of(source)
    if width is None:
        place.unsupported("a computed value as transition_key", "field, stack_field, lookahead")
    return KeyPart(source, width, (width + 7) // 8 * 8)


def _operation(place: Place, scope: Scope) -> tuple[st.ParserOp, ...]:
    op, params = place.at("op").string(), place.at("parameters").items("item")
    here = Place(place.value, f"{place.where}: {op!r}")
    for number, param in enumerate(params):
        param.where = f"{here.where}, parameter {number}"
    expected = {
        "extract": 1,
        "extract_VL": 2,
        "set": 2,
        "verify": 2,
        "advance": 1,
        "shift": 1,
        "primitive": 1,
    }.get(op)
    if expected is None:
        here.unsupported("this parser operation is not implemented", _SUPPORTED_OPS)
    if len(params) != expected:
        here.malformed(f"expected {expected} parameters, found {len(params)}")
    match op:
        case "extract":
            return (_extract(params[0], None, scope),)
        case "extract_VL":
            return (_extract(params[0], load_number(params[1], scope), scope),)
        case "set":
            return (st.Assign(load_lvalue(params[0], scope), load_number(params[1], scope)),)
        case "verify":
            return (st.Verify(load_boolean(params[0], scope), load_number(params[1], scope)),)
        case "advance":
            return (st.Advance(load_number(params[0], scope)),)
        case "shift":
            return (st.Advance(ex.Const(8 * params[0].natural())),)
        case _:
            statements = load_primitive(params[0], scope)
            if any(isinstance(s, st.Jump | st.Exit | st.GenerateDigest) for s in statements):
                here.malformed("this primitive belongs in an action")
            return statements


def _extract(place: Place, varbit: ex.Expression | None, scope: Scope) -> st.ParserOp:
    kind, value = place.at("type").string(), place.at("value")
    if kind == "regular":
        header = scope.header(value)
        if header.metadata:
            place.malformed(f"{header.name!r} is metadata; only headers are extracted")
        _extractable(place, header.name, header.type, varbit)
        return st.Extract(header.name, varbit)
    if kind == "stack":
        stack = scope.stack(value)
    elif kind == "union_stack":
        stack_place, member_place = value.tuple_of(2)
        stack = union_member(stack_place, member_place, scope)
    else:
        return place.unsupported(f"extraction to a {kind!r}", "regular, stack, union_stack")
    _extractable(place, stack.name, stack.type, varbit)
    return st.ExtractNext(stack.name, varbit)


def _extractable(place: Place, name: str, header_type: HeaderType, varbit: ex.Expression | None) -> None:
    if header_type.width % 8:
        place.malformed(f"header {name!r} has {header_type.width} bits, not a whole number of bytes")
    if varbit is not None and header_type.varbit is None:
        place.malformed(f"header {name!r} has no varbit field to extract by a length")
    if varbit is None and header_type.varbit is not None:
        place.unsupported(f"header {name!r} has a varbit field and no length for it", "extract_VL")
