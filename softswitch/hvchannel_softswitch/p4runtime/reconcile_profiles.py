# SPDX-License-Identifier: Apache-2.0
"""RECONCILE_AND_COMMIT, the part of it that concerns actions: action profiles, and whether actions are still there."""

from __future__ import annotations

from hvchannel_softswitch.engine import ActionCall
from hvchannel_softswitch.p4runtime.errors import invalid
from hvchannel_softswitch.p4runtime.p4info import Table
from hvchannel_softswitch.p4runtime.pipeline import Pipeline
from hvchannel_softswitch.p4runtime.profile_entries import table_of
from hvchannel_softswitch.p4runtime.profile_state import ProfileState


def carry_profiles(old: Pipeline, new: Pipeline) -> None:
    """Members, groups and one-shot sets, by the names of their profiles. Raises INVALID_ARGUMENT."""
    heirs = {state.profile.full_name: state for state in new.profiles.values()}
    for state in old.profiles.values():
        if not (state.members or state.one_shots):
            continue
        heir = heirs.get(state.profile.full_name)
        if heir is None or heir.profile.has_selector != state.profile.has_selector:
            raise invalid(
                f"the forwarding state cannot be kept: action profile {state.profile.full_name!r} is missing or of "
                "another kind in the new program"
            )
        _profile(old, new, state, heir)


def _profile(old: Pipeline, new: Pipeline, state: ProfileState, heir: ProfileState) -> None:
    name, table, heir_table = (
        state.profile.full_name,
        table_of(old, state.profile),
        table_of(new, heir.profile),
    )
    for number, call in old.engine.profile_members(name).items():
        check_action(table, heir_table, call)
        new.engine.set_profile_member(name, number, call)
    for number, members in old.engine.profile_groups(name).items():
        new.engine.set_profile_group(name, number, members)
    heir.members, heir.groups = dict(state.members), dict(state.groups)
    heir.group_sizes, heir.private_ids = state.group_sizes, state.private_ids
    for (table_id, key), one_shot in state.one_shots.items():
        owner = new.program.tables_by_name.get(old.program.tables[table_id].full_name)
        if owner is not None:
            heir.one_shots[owner.id, key] = one_shot


def check_action(table: Table, heir: Table, call: ActionCall) -> None:
    """Raises INVALID_ARGUMENT for an action that the new program's table lacks, or has in another shape."""
    there = table.actions_by_name[call.name]
    now = heir.actions_by_name.get(call.name)
    if now is None or [(p.name, p.width) for p in now.params] != [(p.name, p.width) for p in there.params]:
        raise invalid(
            f"the forwarding state cannot be kept: action {call.name!r} of table {table.full_name!r} is "
            "missing or has other parameters in the new program"
        )
