# SPDX-License-Identifier: Apache-2.0
"""What an entry of an indirect table runs: a member or a group by its id, or a one-shot action set (section "One
Shot Action Selector Programming").

A one-shot set becomes a group and its members, with ids of the switch's own. The set itself is kept beside, since a
read must give it back as it was written.
"""

from __future__ import annotations

from collections.abc import Callable

from finsy.proto import p4r
from google.protobuf import unknown_fields  # type: ignore[attr-defined]

from hvchannel_softswitch.engine import Action, ActionCall, EntryKey, GroupRef, MemberRef
from hvchannel_softswitch.p4runtime.actions import decode_action, encode_action
from hvchannel_softswitch.p4runtime.errors import Code, P4RuntimeError, invalid, listing
from hvchannel_softswitch.p4runtime.p4info import Table
from hvchannel_softswitch.p4runtime.pipeline import Pipeline
from hvchannel_softswitch.p4runtime.profile_entries import check_room, check_watch, decode_weight, put_member
from hvchannel_softswitch.p4runtime.profile_state import Group, OneShot, ProfileState
from hvchannel_softswitch.p4runtime.profile_types import Profile

_BY_MEMBER = "action_profile_member_id"
_BY_GROUP = "action_profile_group_id"
_ONE_SHOT = "action_profile_action_set"


def put_entry(
    pipeline: Pipeline, table: Table, key: EntryKey, message: p4r.TableAction, put: Callable[[Action], None]
) -> None:
    """Decodes the action of an entry and gives it to `put`, which inserts or modifies the entry.

    Nothing has changed when this raises: INVALID_ARGUMENT, NOT_FOUND for a member or group that is not there,
    RESOURCE_EXHAUSTED, UNIMPLEMENTED, or what `put` raises.
    """
    profile = table.profile
    assert profile is not None, "only indirect tables come here"
    state, kind = pipeline.profiles[profile.id], message.WhichOneof("type")
    valid = [_BY_MEMBER, _BY_GROUP, _ONE_SHOT] if profile.has_selector else [_BY_MEMBER]
    if kind not in valid:
        raise invalid(
            f"table {table.name!r} takes its actions from action profile {profile.name!r}: its entries take "
            f"{' or '.join(repr(name) for name in valid)}, not {kind or 'an empty action'!r}"
        )
    if kind == _ONE_SHOT:
        _put_one_shot(pipeline, table, key, message.action_profile_action_set, put)
        return
    state.check_by_id()
    if kind == _BY_MEMBER:
        number, there = message.action_profile_member_id, list(state.members)
        reference: Action = MemberRef(number)
    else:
        number, there = message.action_profile_group_id, list(state.groups)
        reference = GroupRef(number)
    if number not in there:
        what = "member" if kind == _BY_MEMBER else "group"
        raise P4RuntimeError(
            Code.NOT_FOUND,
            f"table {table.name!r}: {what} {number} is not in action profile {profile.name!r} "
            f"(there: {listing([str(known) for known in there])})",
        )
    put(reference)


def forget_entry(pipeline: Pipeline, table: Table, key: EntryKey) -> None:
    """The entry is gone: the members and the group that its one-shot set stood for go too."""
    if table.profile is not None:
        state = pipeline.profiles[table.profile.id]
        one_shot = state.one_shots.pop((table.id, key), None)
        if one_shot is not None:
            _remove(pipeline, state, one_shot)


def encode_reference(pipeline: Pipeline, table: Table, key: EntryKey, action: Action) -> p4r.TableAction:
    """As the client wrote it."""
    assert table.profile is not None and not isinstance(action, ActionCall)
    one_shot = pipeline.profiles[table.profile.id].one_shots.get((table.id, key))
    if one_shot is not None:
        return p4r.TableAction(action_profile_action_set=one_shot.written)
    if isinstance(action, MemberRef):
        return p4r.TableAction(action_profile_member_id=action.member)
    return p4r.TableAction(action_profile_group_id=action.group)


def _put_one_shot(
    pipeline: Pipeline,
    table: Table,
    key: EntryKey,
    message: p4r.ActionProfileActionSet,
    put: Callable[[Action], None],
) -> None:
    assert table.profile is not None
    state = pipeline.profiles[table.profile.id]
    state.check_one_shot()
    calls, weights, written = _decode(pipeline, table, table.profile, message)
    old = state.one_shots.get((table.id, key))
    check_room(state, Group(tuple(enumerate(weights)), 0), old.group if old is not None else None)
    if old is None:
        one_shot = _new(
            state, written, calls, weights, OneShot(written, next(state.private_ids), Group((), 0))
        )
        _set(pipeline, state, one_shot, calls)
        try:
            put(GroupRef(one_shot.group_id))
        except Exception:
            _remove(pipeline, state, one_shot)
            raise
    else:
        # In place: a profile that is nearly full has no room for the old members and the new.
        put(GroupRef(old.group_id))
        one_shot = _new(state, written, calls, weights, old)
        _set(pipeline, state, one_shot, calls)
        for number in old.member_ids[len(calls) :]:
            pipeline.engine.set_profile_member(state.profile.full_name, number, None)
        state.group_sizes -= old.group.size(state.profile)
    state.one_shots[table.id, key] = one_shot


def _new(
    state: ProfileState,
    written: p4r.ActionProfileActionSet,
    calls: list[ActionCall],
    weights: list[int],
    old: OneShot,
) -> OneShot:
    """With the ids of the old one as far as they go."""
    ids = [*old.member_ids[: len(calls)]]
    ids += [next(state.private_ids) for _ in calls[len(ids) :]]
    return OneShot(written, old.group_id, Group(tuple(zip(ids, weights, strict=True)), 0))


def _decode(
    pipeline: Pipeline, table: Table, profile: Profile, message: p4r.ActionProfileActionSet
) -> tuple[list[ActionCall], list[int], p4r.ActionProfileActionSet]:
    what = f"the one-shot action set of table {table.name!r}"
    _check_set(profile, message, what)
    calls: list[ActionCall] = []
    weights: list[int] = []
    written = p4r.ActionProfileActionSet(
        action_selection_mode=message.action_selection_mode, size_semantics=message.size_semantics
    )
    for place, one in enumerate(message.action_profile_actions, start=1):
        named = f"action {place} of {what}"
        if not one.HasField("action"):
            raise invalid(f"{named} is empty (valid: one of the table's action IDs)")
        check_watch(bool(one.watch_port) or bool(one.watch), named)
        calls.append(decode_action(pipeline.program, table, one.action, is_default=False))
        weights.append(decode_weight(profile, one.weight, named))
        written.action_profile_actions.add(action=encode_action(table, calls[-1]), weight=one.weight)
    size = sum(weights) if profile.sums_weights else len(calls)
    if 0 < profile.max_group_size < size:
        unit = "weights" if profile.sums_weights else "members"
        raise invalid(f"{what} has {size} {unit} (valid: up to {profile.max_group_size})")
    return calls, weights, written


def _check_set(profile: Profile, message: p4r.ActionProfileActionSet, what: str) -> None:
    if len(unknown_fields.UnknownFieldSet(message)):
        raise P4RuntimeError(
            Code.UNIMPLEMENTED, f"{what} has a field that this version of P4Runtime lacks (group_action?)"
        )
    modes, sizes = p4r.ActionProfileActionSet.ActionSelectionMode, p4r.ActionProfileActionSet.SizeSemantics
    valid_modes = [modes.DEFAULT_MODE_DETERMINED_BY_ACTION_SELECTOR, modes.HASH]
    own_size = sizes.SUM_OF_WEIGHTS if profile.sums_weights else sizes.SUM_OF_MEMBERS
    valid_sizes = [sizes.DEFAULT_SIZE_DETERMINED_BY_ACTION_SELECTOR, own_size]
    if message.action_selection_mode not in valid_modes:
        names = ", ".join(modes.Name(mode) for mode in valid_modes)
        raise P4RuntimeError(
            Code.UNIMPLEMENTED,
            f"{what} has action_selection_mode {message.action_selection_mode} (valid: {names})",
        )
    if message.size_semantics not in valid_sizes:
        names = ", ".join(sizes.Name(size) for size in valid_sizes)
        raise P4RuntimeError(
            Code.UNIMPLEMENTED, f"{what} has size_semantics {message.size_semantics} (valid: {names})"
        )


def _set(pipeline: Pipeline, state: ProfileState, one_shot: OneShot, calls: list[ActionCall]) -> None:
    """There is room: check_room has seen to it."""
    for number, call in zip(one_shot.member_ids, calls, strict=True):
        put_member(pipeline, state, number, call)
    pipeline.engine.set_profile_group(state.profile.full_name, one_shot.group_id, one_shot.group.members)
    state.group_sizes += one_shot.group.size(state.profile)


def _remove(pipeline: Pipeline, state: ProfileState, one_shot: OneShot) -> None:
    engine, name = pipeline.engine, state.profile.full_name
    engine.set_profile_group(name, one_shot.group_id, None)
    for number in one_shot.member_ids:
        engine.set_profile_member(name, number, None)
    state.group_sizes -= one_shot.group.size(state.profile)
