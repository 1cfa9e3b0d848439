# SPDX-License-Identifier: Apache-2.0
"""Primitives of actions and of parser states, and actions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from hvchannel_softswitch.model import expressions as ex
from hvchannel_softswitch.model import statements as st
from hvchannel_softswitch.model.headers import MAX_BITS
from hvchannel_softswitch.model.load_expressions import (
    load_expression,
    load_header,
    load_lvalue,
    load_number,
    load_stack,
    load_stacks,
    load_union,
    load_union_stack,
    type_of,
    union_headers,
)
from hvchannel_softswitch.model.program import Action, Param
from hvchannel_softswitch.model.reader import Place
from hvchannel_softswitch.model.scope import Scope, look_up

_Reader: TypeAlias = Callable[[list[Place], Scope], tuple[st.Statement, ...]]


def load_actions(root: Place, scope: Scope) -> None:
    """Fills the scope's actions, by id."""
    for place in root.objects("actions", "action"):
        name, ident = place.at("name").string(), place.at("id").integer()
        params = tuple(
            Param(item.at("name").string(), item.at("bitwidth").up_to(MAX_BITS, "bits"))
            for item in place.at("runtime_data").items("parameter")
        )
        scope.params = params
        body: list[st.Statement] = []
        primitives = place.at("primitives").items("item")
        # One primitive may become several statements, so jumps are resolved in statements' numbers
        # afterwards.
        starts: list[int] = []
        for number, item in enumerate(primitives):
            item.where = f"{place.where}, primitive {number}"
            starts.append(len(body))
            body += load_primitive(item, scope)
        starts.append(len(body))
        scope.actions[ident] = Action(name, ident, params, _resolve_jumps(body, starts, place))
        scope.params = ()


def _resolve_jumps(body: list[st.Statement], starts: list[int], place: Place) -> tuple[st.Statement, ...]:
    resolved: list[st.Statement] = []
    for statement in body:
        if not isinstance(statement, st.Jump):
            resolved.append(statement)
            continue
        if statement.target >= len(starts):
            place.malformed(f"jump to primitive {statement.target} of {len(starts) - 1}")
        resolved.append(st.Jump(starts[statement.target], statement.condition))
    return tuple(resolved)


def load_primitive(place: Place, scope: Scope) -> tuple[st.Statement, ...]:
    """One primitive as statements: none for a no-op, several for a header union."""
    op = place.at("op").string()
    where = f"{place.where}: {op!r}"
    known = _PRIMITIVES.get(op)
    if known is None:
        Place(place.value, where).unsupported(
            "this primitive is not implemented", ", ".join(sorted(_PRIMITIVES))
        )
    count, reader = known
    params = place.at("parameters").items("item")
    for number, param in enumerate(params):
        param.where = f"{where}, parameter {number}"
    if len(params) != count:
        Place(place.value, where).malformed(f"expected {count} parameters, found {len(params)}")
    return reader(params, scope)


def _assign(params: list[Place], scope: Scope) -> tuple[st.Statement, ...]:
    return (st.Assign(load_lvalue(params[0], scope), load_number(params[1], scope)),)


def _assign_varbit(params: list[Place], scope: Scope) -> tuple[st.Statement, ...]:
    target, value = (scope.varbit(param.at("value")) for param in params)
    if value.width > target.width:
        params[0].malformed(f"copies a varbit<{value.width}> to a varbit<{target.width}>")
    return (st.AssignVarbit(target, value),)


def _computed(op: str) -> _Reader:
    """P4_14's three-operand primitives: target, left, right."""

    def read(params: list[Place], scope: Scope) -> tuple[st.Statement, ...]:
        target = load_lvalue(params[0], scope)
        value = ex.Binary(op, load_number(params[1], scope), load_number(params[2], scope))
        return (st.Assign(target, value),)

    return read


def _accumulated(op: str) -> _Reader:
    """P4_14's add_to_field and subtract_from_field: target, operand."""

    def read(params: list[Place], scope: Scope) -> tuple[st.Statement, ...]:
        target = load_lvalue(params[0], scope)
        return (st.Assign(target, ex.Binary(op, target, load_number(params[1], scope))),)

    return read


def _assign_header(params: list[Place], scope: Scope) -> tuple[st.Statement, ...]:
    target, value = load_header(params[0], scope), load_header(params[1], scope)
    for place, header in zip(params, (target, value), strict=False):
        if isinstance(header, ex.HeaderRef) and scope.headers[header.name].metadata:
            place.malformed(f"{header.name!r} is metadata; only headers are assigned whole")
    to, origin = type_of(target, scope), type_of(value, scope)
    if to is not origin:
        params[0].malformed(f"copies a header of type {origin.name!r} to one of type {to.name!r}")
    return (st.AssignHeader(target, value),)


def _assign_stack(params: list[Place], scope: Scope) -> tuple[st.Statement, ...]:
    target, value = load_stack(params[0], scope), load_stack(params[1], scope)
    if len(scope.stacks[target].headers) != len(scope.stacks[value].headers):
        params[0].malformed(f"header stacks {target!r} and {value!r} differ in size")
    return (st.AssignStack(target, value),)


def _assign_union(params: list[Place], scope: Scope) -> tuple[st.Statement, ...]:
    target, value = load_union(params[0], scope), load_union(params[1], scope)
    if len(target.members) != len(value.members):
        params[0].malformed("the header unions differ in size")
    return tuple(
        st.AssignHeader(a, b) for a, b in zip(union_headers(target), union_headers(value), strict=True)
    )


def _assign_union_stack(params: list[Place], scope: Scope) -> tuple[st.Statement, ...]:
    target, value = load_union_stack(params[0], scope), load_union_stack(params[1], scope)
    sizes = [[len(scope.stacks[stack].headers) for stack in stacks] for stacks in (target, value)]
    if sizes[0] != sizes[1]:
        params[0].malformed("the stacks of header unions differ in size")
    return tuple(st.AssignStack(a, b) for a, b in zip(target, value, strict=True))


def _set_valid(params: list[Place], scope: Scope) -> tuple[st.Statement, ...]:
    return (st.SetValid(load_header(params[0], scope)),)


def _set_invalid(params: list[Place], scope: Scope) -> tuple[st.Statement, ...]:
    return (st.SetInvalid(load_header(params[0], scope)),)


def _constant(place: Place, scope: Scope, what: str) -> int:
    value = load_number(place, scope)
    if not isinstance(value, ex.Const) or value.value < 0:
        place.unsupported(f"{what} that is not a constant", "constants, as p4c emits them")
    return value.value


def _push(params: list[Place], scope: Scope) -> tuple[st.Statement, ...]:
    count = _constant(params[1], scope, "a count")
    return tuple(st.PushFront(stack, count) for stack in load_stacks(params[0], scope))


def _pop(params: list[Place], scope: Scope) -> tuple[st.Statement, ...]:
    count = _constant(params[1], scope, "a count")
    return tuple(st.PopFront(stack, count) for stack in load_stacks(params[0], scope))


def _jump(params: list[Place], scope: Scope) -> tuple[st.Statement, ...]:
    return (st.Jump(_constant(params[0], scope, "a jump's target"), None),)


def _jump_if_zero(params: list[Place], scope: Scope) -> tuple[st.Statement, ...]:
    return (st.Jump(_constant(params[1], scope, "a jump's target"), load_number(params[0], scope)),)


def _digest(params: list[Place], scope: Scope) -> tuple[st.Statement, ...]:
    ident = _constant(params[1], scope, "a learn list")
    if ident not in scope.learn_lists:
        known = ", ".join(map(str, sorted(scope.learn_lists))) or "none"
        params[1].malformed(f"no learn list has the id {ident} (there are: {known})")
    return (st.GenerateDigest(scope.learn_lists[ident].name),)


def _count(params: list[Place], scope: Scope) -> tuple[st.Statement, ...]:
    counter = look_up(scope.counters, params[0].at("value"), "counter")
    return (st.Count(counter.name, load_number(params[1], scope)),)


def _execute_meter(params: list[Place], scope: Scope) -> tuple[st.Statement, ...]:
    meter = look_up(scope.meters, params[0].at("value"), "meter")
    return (st.ExecuteMeter(meter.name, load_number(params[1], scope), load_lvalue(params[2], scope)),)


def _register_read(params: list[Place], scope: Scope) -> tuple[st.Statement, ...]:
    register = look_up(scope.registers, params[1].at("value"), "register")
    return (st.RegisterRead(register.name, load_number(params[2], scope), load_lvalue(params[0], scope)),)


def _register_write(params: list[Place], scope: Scope) -> tuple[st.Statement, ...]:
    register = look_up(scope.registers, params[0].at("value"), "register")
    return (st.RegisterWrite(register.name, load_number(params[1], scope), load_number(params[2], scope)),)


def _hash(params: list[Place], scope: Scope) -> tuple[st.Statement, ...]:
    calculation = look_up(scope.calculations, params[2].at("value"), "calculation")
    base, size = load_number(params[1], scope), load_number(params[3], scope)
    return (st.Hash(load_lvalue(params[0], scope), base, calculation, size),)


def _random(params: list[Place], scope: Scope) -> tuple[st.Statement, ...]:
    return (
        st.Random(
            load_lvalue(params[0], scope), load_number(params[1], scope), load_number(params[2], scope)
        ),
    )


def _log_message(params: list[Place], scope: Scope) -> tuple[st.Statement, ...]:
    values = tuple(load_number(item, scope) for item in params[1].at("value").items())
    return (st.LogMessage(params[0].at("value").string(), values),)


def _check(kind: str) -> _Reader:
    def read(params: list[Place], scope: Scope) -> tuple[st.Statement, ...]:
        condition = load_expression(params[0], scope)
        if not isinstance(condition, ex.Unary) or condition.op != "b2d":
            return (st.Check(kind, ex.Unary("d2b", load_number(params[0], scope))),)
        return (st.Check(kind, condition.operand),)

    return read


def _truncate(params: list[Place], scope: Scope) -> tuple[st.Statement, ...]:
    return (st.Truncate(load_number(params[0], scope)),)


def _field_list(place: Place, scope: Scope) -> int:
    ident = _constant(place, scope, "a field list")
    if ident and ident not in scope.field_lists:
        known = ", ".join(map(str, sorted(scope.field_lists))) or "none"
        place.malformed(f"no field list has the id {ident} (there are: {known})")
    return ident


def _clone(params: list[Place], scope: Scope) -> tuple[st.Statement, ...]:
    return (st.Clone(load_number(params[0], scope), _field_list(params[1], scope)),)


def _resubmit(params: list[Place], scope: Scope) -> tuple[st.Statement, ...]:
    return (st.Resubmit(_field_list(params[0], scope)),)


def _recirculate(params: list[Place], scope: Scope) -> tuple[st.Statement, ...]:
    return (st.Recirculate(_field_list(params[0], scope)),)


def _always(statement: st.Statement | None) -> _Reader:
    return lambda _params, _scope: () if statement is None else (statement,)


_PRIMITIVES: dict[str, tuple[int, _Reader]] = {
    "assign": (2, _assign),
    "modify_field": (2, _assign),
    "add_to_field": (2, _accumulated("+")),
    "subtract_from_field": (2, _accumulated("-")),
    "add": (3, _computed("+")),
    "subtract": (3, _computed("-")),
    "bit_xor": (3, _computed("^")),
    "bit_or": (3, _computed("|")),
    "bit_and": (3, _computed("&")),
    "shift_left": (3, _computed("<<")),
    "shift_right": (3, _computed(">>")),
    "assign_header": (2, _assign_header),
    "copy_header": (2, _assign_header),
    "assign_header_stack": (2, _assign_stack),
    "assign_union": (2, _assign_union),
    "assign_union_stack": (2, _assign_union_stack),
    "assign_VL": (2, _assign_varbit),
    "add_header": (1, _set_valid),
    "add_header_fast": (1, _set_valid),
    "remove_header": (1, _set_invalid),
    "push": (2, _push),
    "pop": (2, _pop),
    "_jump": (1, _jump),
    "_jump_if_zero": (2, _jump_if_zero),
    "exit": (0, _always(st.Exit())),
    "drop": (0, _always(st.MarkToDrop())),
    "mark_to_drop": (1, _always(st.MarkToDrop())),
    "no_op": (0, _always(None)),
    "generate_digest": (2, _digest),
    "count": (2, _count),
    "execute_meter": (3, _execute_meter),
    "register_read": (3, _register_read),
    "register_write": (3, _register_write),
    "modify_field_with_hash_based_offset": (4, _hash),
    "modify_field_rng_uniform": (3, _random),
    "log_msg": (2, _log_message),
    "assert": (1, _check("assert")),
    "assume": (1, _check("assume")),
    "truncate": (1, _truncate),
    "clone_ingress_pkt_to_egress": (2, _clone),
    "clone_egress_pkt_to_egress": (2, _clone),
    "resubmit": (1, _resubmit),
    "recirculate": (1, _recirculate),
}
