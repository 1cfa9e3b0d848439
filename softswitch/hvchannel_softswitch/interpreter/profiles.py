# SPDX-License-Identifier: Apache-2.0
"""Action profiles at run time: members, groups of them, and the tables whose entries refer to them."""

from __future__ import annotations

from typing import TypeAlias

from hvchannel_softswitch.engine import (
    Action,
    ActionCall,
    EngineError,
    GroupRef,
    MemberRef,
    NoSuchEntry,
    TableFull,
)
from hvchannel_softswitch.entry_checks import check_action
from hvchannel_softswitch.interpreter.tables import LiveEntry, LiveTable, Values
from hvchannel_softswitch.model import ActionProfile, Table


class LiveMember:
    """A member as packets see it: the name and the arguments of its action. `uses` counts the entries and
    groups that refer to it; a default action of a table's own is a member without an id."""

    __slots__ = ("args", "buckets", "id", "name", "uses")

    def __init__(self, ident: int | None, call: ActionCall) -> None:
        self.id = ident
        self.name = call.name
        self.args: Values = call.args
        self.buckets: None = None
        self.uses = 0

    @property
    def call(self) -> ActionCall:
        """The action as the control plane says it."""
        return ActionCall(self.name, self.args)


class LiveGroup:
    """A group as packets see it: `buckets` holds each member as often as its weight says, in the order of
    their ids."""

    __slots__ = ("buckets", "id", "members", "uses")

    def __init__(self, ident: int) -> None:
        self.id = ident
        self.members: tuple[tuple[int, int], ...] = ()
        self.buckets: list[LiveMember] = []
        self.uses = 0


Target: TypeAlias = LiveMember | LiveGroup

NOTHING = LiveMember(None, ActionCall("(empty group)"))
"""What an empty group selects: no action at all."""


class LiveProfile:
    """An action profile with its members and groups. `tables` are those that take their actions from it."""

    def __init__(self, profile: ActionProfile, tables: tuple[Table, ...]) -> None:
        self.profile = profile
        self.members: dict[int, LiveMember] = {}
        self.groups: dict[int, LiveGroup] = {}
        self._tables = tables

    def set_member(self, ident: int, call: ActionCall | None) -> None:
        """See Engine."""
        name, member = self.profile.name, self.members.get(ident)
        if call is None:
            if member is None:
                raise NoSuchEntry(f"action profile {name!r} has no member {ident}")
            if member.uses:
                raise EngineError(
                    f"member {ident} of action profile {name!r} is in use by {member.uses} entries or groups"
                )
            del self.members[ident]
            return
        for table in self._tables:
            check_action(table, call)
        if member is not None:
            member.name, member.args = call.name, call.args
            return
        if len(self.members) >= self.profile.size:
            raise TableFull(f"action profile {name!r} is full: it holds {self.profile.size} members")
        self.members[ident] = LiveMember(ident, call)

    def set_group(self, ident: int, members: tuple[tuple[int, int], ...] | None) -> None:
        """See Engine."""
        name, group = self.profile.name, self.groups.get(ident)
        if not self.profile.selector:
            raise EngineError(f"action profile {name!r} has no selector, so no groups")
        if members is None:
            if group is None:
                raise NoSuchEntry(f"action profile {name!r} has no group {ident}")
            if group.uses:
                raise EngineError(
                    f"group {ident} of action profile {name!r} is in use by {group.uses} entries"
                )
            self._fill(group, ())
            del self.groups[ident]
            return
        for member, weight in members:
            if member not in self.members:
                raise NoSuchEntry(f"action profile {name!r} has no member {member} to put in group {ident}")
            if weight < 1:
                raise EngineError(f"member {member} of group {ident} of {name!r}: weight {weight} is below 1")
        if group is None:
            group = self.groups[ident] = LiveGroup(ident)
        self._fill(group, members)

    def _fill(self, group: LiveGroup, members: tuple[tuple[int, int], ...]) -> None:
        for member, _ in group.members:
            self.members[member].uses -= 1
        for member, _ in members:
            self.members[member].uses += 1
        group.members = members
        group.buckets = [self.members[member] for member, weight in sorted(members) for _ in range(weight)]

    def target(self, table: Table, action: Action) -> Target:
        """What an entry refers to. Raises EngineError, naming what the table would take."""
        name = self.profile.name
        match action:
            case MemberRef(member=ident):
                if ident not in self.members:
                    raise EngineError(
                        f"action profile {name!r} of table {table.name!r} has no member {ident}"
                    )
                return self.members[ident]
            case GroupRef(group=ident):
                if ident not in self.groups:
                    raise EngineError(f"action profile {name!r} of table {table.name!r} has no group {ident}")
                return self.groups[ident]
            case ActionCall():
                kinds = "a member or a group" if self.profile.selector else "a member"
                raise EngineError(
                    f"table {table.name!r} takes {kinds} of action profile {name!r}, not action {action.name!r}"
                )


class ProfileTable(LiveTable):
    """A table whose entries refer to members and groups of an action profile."""

    __slots__ = ("profile",)

    def __init__(self, table: Table, profile: LiveProfile) -> None:
        self.profile = profile
        super().__init__(table)

    def check(self, action: Action) -> None:
        """See LiveTable."""
        self.profile.target(self.table, action)

    def default_for(self, action: Action) -> LiveEntry:
        """See LiveTable. The program's own default is an action."""
        entry = LiveEntry(None, 0)
        if isinstance(action, ActionCall):
            entry.target = LiveMember(None, action)
        else:
            self.bind(entry, action)
        return entry

    def bind(self, entry: LiveEntry, action: Action) -> None:
        """See LiveTable."""
        target = self.profile.target(self.table, action)
        target.uses += 1
        if entry.target is not None:
            entry.target.uses -= 1
        entry.target = target

    def release(self, entry: LiveEntry) -> None:
        """See LiveTable."""
        if entry.target is not None:
            entry.target.uses -= 1

    def action_of(self, entry: LiveEntry) -> Action:
        """See LiveTable."""
        target = entry.target
        assert target is not None
        if isinstance(target, LiveGroup):
            return GroupRef(target.id)
        return target.call if target.id is None else MemberRef(target.id)
