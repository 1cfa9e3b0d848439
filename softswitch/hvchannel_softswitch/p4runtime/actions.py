# SPDX-License-Identifier: Apache-2.0
"""Action messages (section "Action Specification"): to the engine's calls and back."""

from __future__ import annotations

from finsy.proto import p4r

from hvchannel_softswitch.engine import ActionCall
from hvchannel_softswitch.p4runtime.errors import Code, P4RuntimeError, choices, invalid
from hvchannel_softswitch.p4runtime.p4info import Action, Program, Scope, Table


def decode_table_action(
    program: Program, table: Table, message: p4r.TableAction, *, is_default: bool
) -> ActionCall:
    """The call that an entry of a direct table asks for. Raises as decode_action does."""
    if not message.HasField("action"):
        kind = message.WhichOneof("type")
        if kind is None:
            raise invalid(
                f"table {table.name!r}: the action is empty (valid: an 'action' with one of its action IDs)"
            )
        raise invalid(f"table {table.name!r} is direct: its entries take an 'action', not an {kind!r}")
    return decode_action(program, table, message.action, is_default=is_default)


def decode_action(program: Program, table: Table, message: p4r.Action, *, is_default: bool) -> ActionCall:
    """A call of one of the table's actions. Raises INVALID_ARGUMENT, OUT_OF_RANGE for a value too wide,
    PERMISSION_DENIED for an action of the wrong scope."""
    found = table.actions.get(message.action_id)
    if found is None:
        raise _not_of_table(program, table, message.action_id)
    action, scope = found
    if scope is not Scope.TABLE_AND_DEFAULT:
        _check_scope(table, action, scope, is_default=is_default)
    return ActionCall(action.full_name, _decode_params(action, message))


def encode_table_action(table: Table, call: ActionCall) -> p4r.TableAction | None:
    """None for an action that the P4Info does not show for this table (a hidden default)."""
    encoded = encode_action(table, call)
    return None if encoded is None else p4r.TableAction(action=encoded)


def encode_action(table: Table, call: ActionCall) -> p4r.Action | None:
    """As encode_table_action."""
    action = table.actions_by_name.get(call.name)
    if action is None:
        return None
    params = [
        p4r.Action.Param(param_id=param.id, value=param.encode(value))
        for param, value in zip(action.params, call.args, strict=True)
    ]
    params.sort(key=lambda param: param.param_id)
    return p4r.Action(action_id=action.id, params=params)


def _check_scope(table: Table, action: Action, scope: Scope, *, is_default: bool) -> None:
    if is_default and scope is Scope.TABLE_ONLY:
        raise P4RuntimeError(
            Code.PERMISSION_DENIED,
            f"action {action.name!r} (ID {action.id}) of table {table.name!r} is for entries only, not the "
            "default action",
        )
    if not is_default and scope is Scope.DEFAULT_ONLY:
        raise P4RuntimeError(
            Code.PERMISSION_DENIED,
            f"action {action.name!r} (ID {action.id}) of table {table.name!r} is for the default action "
            "only, not entries",
        )


def _not_of_table(program: Program, table: Table, action_id: int) -> P4RuntimeError:
    known = program.actions.get(action_id)
    named = f"action {known.name!r} (ID {action_id})" if known else f"action ID {action_id}"
    return invalid(
        f"{named} is not valid for table {table.name!r} "
        f"{choices((action.name, action.id) for action, _ in table.actions.values())}"
    )


def _decode_params(action: Action, message: p4r.Action) -> tuple[int, ...]:
    by_id, params = action.by_id, action.params
    values: list[int | None] = [None] * len(params)
    count = 0
    for given in message.params:
        found = by_id.get(given.param_id)
        if found is None:
            raise invalid(
                f"parameter ID {given.param_id} is not valid for action {action.name!r} "
                f"{choices((p.name, p.id) for p in params)}"
            )
        place, plain_width, param = found
        if values[place] is not None:
            raise invalid(f"parameter {param.name!r} of action {action.name!r} is given twice")
        count += 1
        data = given.value
        value = int.from_bytes(data, "big")
        if not data or not plain_width or value >> plain_width:
            value = param.decode(data, f"parameter {param.name!r} of action {action.name!r}")
        values[place] = value
    if count < len(params):
        missing = [(p.name, p.id) for p, value in zip(params, values, strict=True) if value is None]
        raise invalid(
            f"action {action.name!r} needs a value for every parameter {choices(missing, 'missing')}"
        )
    return tuple(values)  # type: ignore[arg-type]
