# SPDX-License-Identifier: Apache-2.0
"""TableAction messages (section "Action Specification"): to the engine's calls and back."""

from __future__ import annotations

from finsy.proto import p4r

from hvchannel_softswitch.engine import ActionCall
from hvchannel_softswitch.p4runtime.errors import Code, P4RuntimeError, choices, invalid
from hvchannel_softswitch.p4runtime.p4info import Action, Program, Scope, Table
from hvchannel_softswitch.p4runtime.values import to_bytes, to_int


def decode_action(
    program: Program, table: Table, message: p4r.TableAction, *, is_default: bool
) -> ActionCall:
    """The call a TableEntry asks for. Raises INVALID_ARGUMENT, OUT_OF_RANGE for a value too wide,
    PERMISSION_DENIED for an action of the wrong scope, UNIMPLEMENTED for action profiles."""
    kind = message.WhichOneof("type")
    if kind is None:
        raise invalid(
            f"table {table.name!r}: the action is empty (valid: an 'action' with one of its action IDs)"
        )
    if table.has_implementation:
        raise P4RuntimeError(
            Code.UNIMPLEMENTED,
            f"table {table.name!r} takes its actions from an action profile, which this switch lacks",
        )
    if kind != "action":
        raise invalid(f"table {table.name!r} is direct: its entries take an 'action', not an {kind!r}")
    action, scope = _lookup(program, table, message.action.action_id)
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
    return ActionCall(action.full_name, _decode_params(action, message.action))


def encode_action(table: Table, call: ActionCall) -> p4r.TableAction | None:
    """None for an action that the P4Info does not show for this table (a hidden default)."""
    for action, _ in table.actions.values():
        if action.full_name == call.name:
            params = [
                p4r.Action.Param(param_id=param.id, value=to_bytes(value))
                for param, value in zip(action.params, call.args, strict=True)
            ]
            params.sort(key=lambda param: param.param_id)
            return p4r.TableAction(action=p4r.Action(action_id=action.id, params=params))
    return None


def _lookup(program: Program, table: Table, action_id: int) -> tuple[Action, Scope]:
    found = table.actions.get(action_id)
    if found is None:
        known = program.actions.get(action_id)
        named = f"action {known.name!r} (ID {action_id})" if known else f"action ID {action_id}"
        raise invalid(
            f"{named} is not valid for table {table.name!r} "
            f"{choices((action.name, action.id) for action, _ in table.actions.values())}"
        )
    return found


def _decode_params(action: Action, message: p4r.Action) -> tuple[int, ...]:
    known = {param.id: param for param in action.params}
    values: dict[int, int] = {}
    for given in message.params:
        param = known.get(given.param_id)
        if param is None:
            raise invalid(
                f"parameter ID {given.param_id} is not valid for action {action.name!r} "
                f"{choices((p.name, p.id) for p in action.params)}"
            )
        if param.id in values:
            raise invalid(f"parameter {param.name!r} of action {action.name!r} is given twice")
        values[param.id] = to_int(
            given.value, param.width, f"parameter {param.name!r} of action {action.name!r}"
        )
    missing = [(param.name, param.id) for param in action.params if param.id not in values]
    if missing:
        raise invalid(
            f"action {action.name!r} needs a value for every parameter {choices(missing, 'missing')}"
        )
    return tuple(values[param.id] for param in action.params)
