# SPDX-License-Identifier: Apache-2.0
"""Action profiles and selectors: members, groups, one-shot action sets, and the tables that take their actions from
them."""

from __future__ import annotations

import pytest
from finsy.proto import p4r

FRAME = bytes.fromhex("00000000000a 00000000000b 0806")


def _member(names, number: int, port: int | None = 2, profile="ways") -> p4r.Entity:
    member = p4r.ActionProfileMember(action_profile_id=names.ids[profile], member_id=number)
    if port is not None:
        member.action.CopyFrom(names.action("to_port", port=port).action)
    return p4r.Entity(action_profile_member=member)


def _group(names, number: int, members=(), max_size: int = 3, profile="ways", **fields) -> p4r.Entity:
    group = p4r.ActionProfileGroup(action_profile_id=names.ids[profile], group_id=number, max_size=max_size)
    for member, weight in members:
        group.members.add(member_id=member, weight=weight, **fields)
    return p4r.Entity(action_profile_group=group)


def _entry(names, table="selector_table", dst: int = 0xA, **action) -> p4r.Entity:
    return p4r.Entity(table_entry=names.entry(table, p4r.TableAction(**action), dst=dst))


def _one_shot(names, *ports_and_weights: tuple[int, int], table="selector_table", dst: int = 0xA, **fields):
    actions = p4r.ActionProfileActionSet(**fields)
    for port, weight in ports_and_weights:
        actions.action_profile_actions.add(action=names.action("to_port", port=port).action, weight=weight)
    return _entry(names, table, dst, action_profile_action_set=actions)


async def test_members_are_inserted_modified_read_and_deleted(everything, names):
    await everything.write("INSERT", _member(names, 1), _member(names, 2, 3), _member(names, 1, 4, "routes"))
    await everything.write("MODIFY", _member(names, 1, 3))
    assert await everything.read(_member(names, 0, None)) == [_member(names, 1, 3), _member(names, 2, 3)]
    assert await everything.read(_member(names, 2, None)) == [_member(names, 2, 3)]
    assert len(await everything.read(p4r.Entity(action_profile_member=p4r.ActionProfileMember()))) == 3
    await everything.write("DELETE", _member(names, 1, None))
    assert await everything.read(_member(names, 0, None)) == [_member(names, 2, 3)]


async def test_an_entry_runs_its_member_and_follows_its_change(rig, everything, names):
    await everything.write("INSERT", _member(names, 7, 2, "routes"))
    await everything.write("INSERT", _entry(names, "profile_table", action_profile_member_id=7))
    rig.switch.inject(1, FRAME)
    await everything.write("MODIFY", _member(names, 7, 3, "routes"))
    rig.switch.inject(1, FRAME)
    assert [len(port.sent) for port in rig.ports.values()] == [0, 1, 1, 0]


async def test_groups_are_inserted_modified_read_and_deleted(everything, names):
    await everything.write("INSERT", _member(names, 1), _member(names, 2))
    group = _group(names, 1, [(1, 1), (2, 2)])
    await everything.write("INSERT", group, _group(names, 2))
    assert await everything.read(_group(names, 1)) == [group]
    assert await everything.read(p4r.Entity(action_profile_group=p4r.ActionProfileGroup())) == [
        group,
        _group(names, 2),
    ]
    await everything.write("MODIFY", _group(names, 1, [(2, 1)]))
    assert await everything.read(_group(names, 1)) == [_group(names, 1, [(2, 1)])]
    await everything.write("DELETE", _group(names, 1))
    assert await everything.read(_group(names, 0)) == [_group(names, 2)]


async def test_an_entry_with_a_group_uses_all_its_members(rig, everything, names):
    await everything.write("INSERT", _member(names, 1, 2), _member(names, 2, 3))
    await everything.write("INSERT", _group(names, 4, [(1, 1), (2, 1)]))
    entry = _entry(names, action_profile_group_id=4)
    await everything.write("INSERT", entry)
    assert await everything.read(entry) == [entry]
    for flow in range(64):
        rig.switch.inject(1, bytes(5) + b"\x0a" + bytes(5) + bytes([flow]) + b"\x08\x06")
    assert len(rig.ports[2].sent) + len(rig.ports[3].sent) == 64
    assert rig.ports[2].sent
    assert rig.ports[3].sent


async def test_what_is_in_use_is_not_deleted(everything, names):
    await everything.write("INSERT", _member(names, 1), _member(names, 2))
    await everything.write("INSERT", _group(names, 4, [(1, 1)]))
    await everything.write(
        "INSERT",
        _entry(names, action_profile_group_id=4),
        _entry(names, dst=0xB, action_profile_member_id=2),
    )
    for entity, what in (
        (_member(names, 1), "member 1"),
        (_member(names, 2), "member 2"),
        (_group(names, 4), "group 4"),
    ):
        code, message = await everything.refused("DELETE", entity)
        assert code == "FAILED_PRECONDITION"
        assert message.startswith(f"{what} of action profile 'ways' is in use: ")


async def test_one_shot_sets_are_read_as_they_were_written(rig, everything, names):
    both = _one_shot(names, (2, 1), (3, 2))
    await everything.write("INSERT", both, _one_shot(names, (4, 1), (4, 1), dst=0xB))
    assert await everything.read(both) == [both]
    for flow in range(64):
        rig.switch.inject(1, bytes(5) + b"\x0a" + bytes(5) + bytes([flow]) + b"\x08\x06")
    assert rig.ports[2].sent
    assert rig.ports[3].sent
    assert await everything.read(_member(names, 0, None)) == [], "the members of one-shot sets are nobody's"
    assert await everything.read(_group(names, 0)) == []
    modified = _one_shot(names, (4, 3))
    await everything.write("MODIFY", modified)
    assert await everything.read(modified) == [modified]
    await everything.write("DELETE", modified, _one_shot(names, dst=0xB))
    await everything.write("INSERT", _member(names, 1))


async def test_one_shot_sets_give_their_room_back(everything, names):
    """A selector of 8 in all, and 3 in a group: two whole sets fit, over and over."""
    for _ in range(5):
        await everything.write("INSERT", _one_shot(names, (2, 1), (3, 2)), _one_shot(names, (2, 3), dst=0xB))
        await everything.write("MODIFY", _one_shot(names, (2, 1), (3, 1), (4, 1)))
        assert await everything.refused("INSERT", _one_shot(names, (2, 3), dst=0xC)) == (
            "RESOURCE_EXHAUSTED",
            "action profile 'ways' is full: its groups may have 8 weights in all, not 9",
        )
        await everything.write("DELETE", _one_shot(names), _one_shot(names, dst=0xB))


async def test_one_shot_and_ids_do_not_mix(everything, names):
    await everything.write("INSERT", _one_shot(names, (2, 1)))
    code, message = await everything.refused("INSERT", _member(names, 1))
    assert (code, message) == (
        "INVALID_ARGUMENT",
        "action profile 'ways' is programmed in one shot now, so it takes no members and groups: delete the entries "
        "with an 'action_profile_action_set' first",
    )
    await everything.write("INSERT", _member(names, 1, profile="few"))
    assert await everything.refused("INSERT", _one_shot(names, (2, 1), table="few_table")) == (
        "INVALID_ARGUMENT",
        "action profile 'few' has members and groups, so its tables take their ids, not an 'action_profile_action_set'",
    )


async def test_a_default_of_an_indirect_table_is_const_noaction(everything, names):
    default = p4r.TableEntry(table_id=names.table_id("selector_table"), is_default_action=True)
    ((found),) = await everything.read(p4r.Entity(table_entry=default))
    assert found.table_entry.is_const
    assert await everything.refused("MODIFY", p4r.Entity(table_entry=default)) == (
        "PERMISSION_DENIED",
        "the default action of table 'selector_table' is const",
    )


async def test_profiles_survive_reconciliation(everything, names, config_of):
    await everything.write("INSERT", _member(names, 1))
    await everything.write("INSERT", _group(names, 2, [(1, 2)]))
    entries = [_entry(names, action_profile_group_id=2), _one_shot(names, (2, 1), (3, 1), table="few_table")]
    await everything.write("INSERT", *entries)
    await everything.set_pipeline(config_of("entities"), "RECONCILE_AND_COMMIT")
    assert await everything.read(entries[0]) == entries[:1]
    assert await everything.read(entries[1]) == entries[1:]
    assert await everything.read(_group(names, 2)) == [_group(names, 2, [(1, 2)])]
    await everything.write("DELETE", *entries)
    await everything.write("DELETE", _group(names, 2), _member(names, 1))


_REFUSED = {
    "direct action": (
        lambda n: _entry(n, "profile_table", action=n.action("to_port", port=1).action),
        "INVALID_ARGUMENT",
        "table 'profile_table' takes its actions from action profile 'routes': its entries take "
        "'action_profile_member_id', not 'action'",
    ),
    "group without a selector": (
        lambda n: _entry(n, "profile_table", action_profile_group_id=1),
        "INVALID_ARGUMENT",
        "table 'profile_table' takes its actions from action profile 'routes': its entries take "
        "'action_profile_member_id', not 'action_profile_group_id'",
    ),
    "empty action": (
        _entry,
        "INVALID_ARGUMENT",
        "table 'selector_table' takes its actions from action profile 'ways': its entries take "
        "'action_profile_member_id' or 'action_profile_group_id' or 'action_profile_action_set', not 'an empty action'",
    ),
    "unknown member": (
        lambda n: _entry(n, action_profile_member_id=5),
        "NOT_FOUND",
        "table 'selector_table': member 5 is not in action profile 'ways' (there: 1)",
    ),
    "unknown group": (
        lambda n: _entry(n, action_profile_group_id=5),
        "NOT_FOUND",
        "table 'selector_table': group 5 is not in action profile 'ways' (there: none)",
    ),
    "member 0": (
        lambda n: _member(n, 0),
        "INVALID_ARGUMENT",
        "member 0 of action profile 'ways': ID 0 is not valid in a write (valid: 1 or more)",
    ),
    "member there": (
        lambda n: _member(n, 1),
        "ALREADY_EXISTS",
        "member 1 of action profile 'ways' is already there",
    ),
    "member without action": (
        lambda n: _member(n, 2, None),
        "INVALID_ARGUMENT",
        "member 2 of action profile 'ways' needs an action",
    ),
    "member with an action of no table": (
        lambda n: p4r.Entity(
            action_profile_member=p4r.ActionProfileMember(
                action_profile_id=n.ids["ways"], member_id=2, action=n.action("flood", group=1).action
            )
        ),
        "INVALID_ARGUMENT",
        "action 'flood' (ID 22029261) is not valid for table 'selector_table' (valid: 'to_port' (ID 20010929), "
        "'rewrite' (ID 31070514), 'NoAction' (ID 21257015))",
    ),
    "unknown profile": (
        lambda n: p4r.Entity(action_profile_member=p4r.ActionProfileMember(action_profile_id=9, member_id=2)),
        "INVALID_ARGUMENT",
        "action profile ID 9 is not in the P4Info (valid: 'routes' (ID 297356805), 'ways' (ID 287939669), "
        "'few' (ID 299308729))",
    ),
    "group of a profile": (
        lambda n: _group(n, 1, profile="routes"),
        "INVALID_ARGUMENT",
        "action profile 'routes' has no selector, so it has no groups",
    ),
    "group of unknown members": (
        lambda n: _group(n, 1, [(9, 1)]),
        "NOT_FOUND",
        "member 9 of group 1 of action profile 'ways' is not in the action profile (there: 1)",
    ),
    "member twice": (
        lambda n: _group(n, 1, [(1, 1), (1, 1)]),
        "INVALID_ARGUMENT",
        "member 1 of group 1 of action profile 'ways' is given twice; its weight says how often it counts",
    ),
    "weight 0": (
        lambda n: _group(n, 1, [(1, 0)]),
        "INVALID_ARGUMENT",
        "member 1 of group 1 of action profile 'ways' has weight 0 (valid: 1 or more)",
    ),
    "weight above max_member_weight": (
        lambda n: _one_shot(n, (1, 5), table="few_table"),
        "INVALID_ARGUMENT",
        "action 1 of the one-shot action set of table 'few_table' has weight 5 (valid: 1 to 4)",
    ),
    "max_size too large": (
        lambda n: _group(n, 1, max_size=4),
        "INVALID_ARGUMENT",
        "group 1 of action profile 'ways' has max_size 4 (valid: 1 to 3)",
    ),
    "max_size exceeded": (
        lambda n: _group(n, 1, [(1, 3)], max_size=2),
        "RESOURCE_EXHAUSTED",
        "group 1 of action profile 'ways' has 3 weights, more than its max_size 2",
    ),
    "watch port of a member": (
        lambda n: _group(n, 1, [(1, 1)], watch_port=b"\1"),
        "UNIMPLEMENTED",
        "member 1 of group 1 of action profile 'ways' has a watch port, but this switch does not follow the state of "
        "its ports: leave it unset",
    ),
    "set beside ids": (
        lambda n: _one_shot(n, (1, 2), (2, 2), dst=3),
        "INVALID_ARGUMENT",
        "action profile 'ways' has members and groups, so its tables take their ids, not an "
        "'action_profile_action_set'",
    ),
    "set of too many members": (
        lambda n: _one_shot(n, (1, 1), (2, 1), (3, 1), table="few_table"),
        "INVALID_ARGUMENT",
        "the one-shot action set of table 'few_table' has 3 members (valid: up to 2)",
    ),
    "random selection": (
        lambda n: _one_shot(n, (1, 1), table="few_table", action_selection_mode="RANDOM"),
        "UNIMPLEMENTED",
        "the one-shot action set of table 'few_table' has action_selection_mode 2 (valid: "
        "DEFAULT_MODE_DETERMINED_BY_ACTION_SELECTOR, HASH)",
    ),
    "other size semantics": (
        lambda n: _one_shot(n, (1, 1), table="few_table", size_semantics="SUM_OF_WEIGHTS"),
        "UNIMPLEMENTED",
        "the one-shot action set of table 'few_table' has size_semantics 1 (valid: "
        "DEFAULT_SIZE_DETERMINED_BY_ACTION_SELECTOR, SUM_OF_MEMBERS)",
    ),
}


@pytest.mark.parametrize("case", _REFUSED)
async def test_refused(everything, names, case):
    make, code, message = _REFUSED[case]
    await everything.write("INSERT", _member(names, 1))
    assert await everything.refused("INSERT", make(names)) == (code, message)


async def test_a_full_profile_is_resource_exhausted(everything, names):
    await everything.write("INSERT", *(_member(names, n, profile="routes") for n in range(1, 5)))
    assert await everything.refused("INSERT", _member(names, 5, profile="routes")) == (
        "RESOURCE_EXHAUSTED",
        "action profile 'routes' is full: it holds its 4 members",
    )


async def test_max_size_does_not_change(everything, names):
    await everything.write("INSERT", _group(names, 1))
    assert await everything.refused("MODIFY", _group(names, 1, max_size=2)) == (
        "INVALID_ARGUMENT",
        "group 1 of action profile 'ways': max_size cannot change after INSERT (given: 2, valid: 3)",
    )
