# SPDX-License-Identifier: Apache-2.0
"""Write and Read of ActionProfileMember and ActionProfileGroup (sections "Member Programming" and "Group
Programming")."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from finsy.proto import p4r

from hvchannel_softswitch.engine import ActionCall, EngineError, TableFull
from hvchannel_softswitch.p4runtime.actions import decode_action, encode_action
from hvchannel_softswitch.p4runtime.errors import Code, P4RuntimeError, check_presence, invalid, listing
from hvchannel_softswitch.p4runtime.p4info import Table
from hvchannel_softswitch.p4runtime.pipeline import Pipeline
from hvchannel_softswitch.p4runtime.profile_state import Group, ProfileState
from hvchannel_softswitch.p4runtime.profile_types import Profile


def write_member(
    pipeline: Pipeline, kind: p4r.Update.Type.ValueType, message: p4r.ActionProfileMember
) -> None:
    """INSERT, MODIFY or DELETE of one member. Raises P4RuntimeError with the spec's code."""
    state, number = _state(pipeline, message.action_profile_id), message.member_id
    profile, what = state.profile, f"member {number} of action profile {state.profile.name!r}"
    state.check_by_id()
    _check_id(number, what)
    check_presence(kind, what, is_there=number in state.members)
    if kind == p4r.Update.DELETE:
        try:
            pipeline.engine.set_profile_member(profile.full_name, number, None)
        except EngineError as error:
            raise _in_use(what, error) from error
        del state.members[number]
        return
    if not message.HasField("action"):
        raise invalid(f"{what} needs an action")
    call = decode_action(pipeline.program, table_of(pipeline, profile), message.action, is_default=False)
    put_member(pipeline, state, number, call)
    state.members[number] = call


def put_member(pipeline: Pipeline, state: ProfileState, number: int, call: ActionCall) -> None:
    """Gives the engine a member. Raises RESOURCE_EXHAUSTED when the profile is full."""
    try:
        pipeline.engine.set_profile_member(state.profile.full_name, number, call)
    except TableFull as error:
        raise P4RuntimeError(
            Code.RESOURCE_EXHAUSTED,
            f"action profile {state.profile.name!r} is full: it holds its {state.profile.size} members",
        ) from error


def read_members(pipeline: Pipeline, wanted: p4r.ActionProfileMember) -> Iterator[p4r.ActionProfileMember]:
    """One member, all of a profile (member id 0), or all (profile id 0)."""
    for state in _states(pipeline, wanted.action_profile_id):
        table = table_of(pipeline, state.profile)
        for number, call in state.members.items():
            if wanted.member_id in (0, number):
                yield p4r.ActionProfileMember(
                    action_profile_id=state.profile.id, member_id=number, action=encode_action(table, call)
                )


def write_group(pipeline: Pipeline, kind: p4r.Update.Type.ValueType, message: p4r.ActionProfileGroup) -> None:
    """INSERT, MODIFY or DELETE of one group. Raises P4RuntimeError with the spec's code."""
    state, number = _state(pipeline, message.action_profile_id), message.group_id
    profile, what = state.profile, f"group {number} of action profile {state.profile.name!r}"
    if not profile.has_selector:
        raise invalid(f"action profile {profile.name!r} has no selector, so it has no groups")
    state.check_by_id()
    _check_id(number, what)
    check_presence(kind, what, is_there=number in state.groups)
    if kind == p4r.Update.DELETE:
        try:
            pipeline.engine.set_profile_group(profile.full_name, number, None)
        except EngineError as error:
            raise _in_use(what, error) from error
        state.remove_group(number)
        return
    if kind == p4r.Update.MODIFY and message.max_size != state.groups[number].max_size:
        raise invalid(
            f"{what}: max_size cannot change after INSERT (given: {message.max_size}, valid: "
            f"{state.groups[number].max_size})"
        )
    group = _decode_group(state, message, what)
    check_room(state, group, state.groups.get(number))
    pipeline.engine.set_profile_group(profile.full_name, number, group.members)
    state.set_group(number, group)


def read_groups(pipeline: Pipeline, wanted: p4r.ActionProfileGroup) -> Iterator[p4r.ActionProfileGroup]:
    """One group, all of a selector (group id 0), or all (profile id 0)."""
    for state in _states(pipeline, wanted.action_profile_id):
        for number, group in state.groups.items():
            if wanted.group_id in (0, number):
                yield encode_group(state.profile, number, group)


def encode_group(profile: Profile, number: int, group: Group) -> p4r.ActionProfileGroup:
    """As the client wrote it."""
    members = [
        p4r.ActionProfileGroup.Member(member_id=member, weight=0 if profile.weights_disallowed else weight)
        for member, weight in group.members
    ]
    return p4r.ActionProfileGroup(
        action_profile_id=profile.id, group_id=number, members=members, max_size=group.max_size
    )


def table_of(pipeline: Pipeline, profile: Profile) -> Table:
    """Any of the tables of a profile: all have the same actions. Raises INVALID_ARGUMENT if there is none."""
    for table in pipeline.program.tables.values():
        if table.profile is not None and table.profile.id == profile.id:
            return table
    raise invalid(f"action profile {profile.name!r} is used by no table")


def decode_weight(profile: Profile, weight: int, what: str) -> int:
    """What a selector is to count a member with: 1 where P4Info disallows weights. Raises INVALID_ARGUMENT."""
    if profile.weights_disallowed:
        if weight:
            raise invalid(f"{what} has weight {weight}, but this selector has no weights (valid: 0)")
        return 1
    if weight <= 0:
        raise invalid(f"{what} has weight {weight} (valid: 1 or more)")
    if not profile.sums_weights and 0 < profile.max_member_weight < weight:
        raise invalid(f"{what} has weight {weight} (valid: 1 to {profile.max_member_weight})")
    return weight


def check_watch(is_watching: bool, what: str) -> None:
    """Raises UNIMPLEMENTED: a port that is down stays in its groups here, and no client must rely on more."""
    if is_watching:
        raise P4RuntimeError(
            Code.UNIMPLEMENTED,
            f"{what} has a watch port, but this switch does not follow the state of its ports: leave it unset",
        )


MAX_WEIGHTS = 1 << 16
"""Of one group in all: the selector's memory."""


def check_room(state: ProfileState, group: Group, old: Group | None) -> None:
    """Raises RESOURCE_EXHAUSTED when all groups together would outgrow the profile, or one group the selector."""
    profile = state.profile
    weights = sum(weight for _, weight in group.members)
    if weights > MAX_WEIGHTS:
        raise P4RuntimeError(
            Code.RESOURCE_EXHAUSTED,
            f"a group of action profile {profile.name!r} may have weights of {MAX_WEIGHTS} in all, not {weights}",
        )
    size = state.group_sizes + group.size(profile) - (old.size(profile) if old is not None else 0)
    if 0 < profile.size < size:
        unit = "weights" if profile.sums_weights else "members"
        raise P4RuntimeError(
            Code.RESOURCE_EXHAUSTED,
            f"action profile {profile.name!r} is full: its groups may have {profile.size} {unit} in all, not {size}",
        )


def _decode_group(state: ProfileState, message: p4r.ActionProfileGroup, what: str) -> Group:
    profile = state.profile
    _check_max_size(profile, message.max_size, what)
    members: dict[int, int] = {}
    for member in message.members:
        named = f"member {member.member_id} of {what}"
        if member.member_id in members:
            raise invalid(f"{named} is given twice; its weight says how often it counts")
        if member.member_id not in state.members:
            valid = listing([str(known) for known in state.members])
            raise P4RuntimeError(Code.NOT_FOUND, f"{named} is not in the action profile (there: {valid})")
        check_watch(bool(member.watch_port) or bool(member.watch), named)
        members[member.member_id] = decode_weight(profile, member.weight, named)
    group = Group(tuple(members.items()), message.max_size)
    if 0 < message.max_size < group.size(profile):
        unit = "weights" if profile.sums_weights else "members"
        raise P4RuntimeError(
            Code.RESOURCE_EXHAUSTED,
            f"{what} has {group.size(profile)} {unit}, more than its max_size {message.max_size}",
        )
    return group


def _check_max_size(profile: Profile, max_size: int, what: str) -> None:
    """Section "Rules on Setting max_size"."""
    if profile.max_group_size and not 0 < max_size <= profile.max_group_size:
        raise invalid(f"{what} has max_size {max_size} (valid: 1 to {profile.max_group_size})")
    if max_size < 0:
        raise invalid(f"{what} has max_size {max_size} (valid: 0, for no limit, or more)")


def _check_id(number: int, what: str) -> None:
    if not number:
        raise invalid(f"{what}: ID 0 is not valid in a write (valid: 1 or more)")


def _in_use(what: str, error: EngineError) -> P4RuntimeError:
    return P4RuntimeError(Code.FAILED_PRECONDITION, f"{what} is in use: {error}")


def _state(pipeline: Pipeline, profile_id: int) -> ProfileState:
    return pipeline.profiles[pipeline.program.profile(profile_id).id]


def _states(pipeline: Pipeline, profile_id: int) -> Iterable[ProfileState]:
    return [_state(pipeline, profile_id)] if profile_id else pipeline.profiles.values()
