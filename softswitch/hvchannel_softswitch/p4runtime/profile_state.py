# SPDX-License-Identifier: Apache-2.0
"""What clients have put into an action profile, as they wrote it; the engine holds what packets need of it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

from finsy.proto import p4r

from hvchannel_softswitch.engine import ActionCall, EntryKey
from hvchannel_softswitch.p4runtime.errors import invalid
from hvchannel_softswitch.p4runtime.profile_types import Profile

FIRST_PRIVATE_ID = 1 << 24
"""Members and groups that stand for one-shot action sets are numbered from here up."""


@dataclass(frozen=True, slots=True)
class Group:
    """(member, weight) pairs; `max_size` as the client gave it, 0 for none."""

    members: tuple[tuple[int, int], ...]
    max_size: int

    def size(self, profile: Profile) -> int:
        """What counts against the profile's sizes."""
        return sum(weight for _, weight in self.members) if profile.sums_weights else len(self.members)


@dataclass(frozen=True, slots=True)
class OneShot:
    """A one-shot action set as written, and the private group and members that stand for it."""

    written: p4r.ActionProfileActionSet
    group_id: int
    group: Group

    @property
    def member_ids(self) -> tuple[int, ...]:
        """Of the private members."""
        return tuple(member for member, _ in self.group.members)


@dataclass(slots=True)
class ProfileState:
    """One profile's members and groups by id, or else its one-shot action sets by table id and entry: never both
    (section "One Shot Action Selector Programming")."""

    profile: Profile
    members: dict[int, ActionCall] = field(default_factory=dict)
    groups: dict[int, Group] = field(default_factory=dict)
    one_shots: dict[tuple[int, EntryKey], OneShot] = field(default_factory=dict)
    private_ids: Iterator[int] = field(default_factory=lambda: itertools.count(FIRST_PRIVATE_ID))
    group_sizes: int = 0
    """Of all groups, private ones included; what the profile's size limits."""

    def check_by_id(self) -> None:
        """Raises INVALID_ARGUMENT where entries are programmed in one shot."""
        if self.one_shots:
            raise invalid(
                f"action profile {self.profile.name!r} is programmed in one shot now, so it takes no members and "
                "groups: delete the entries with an 'action_profile_action_set' first"
            )

    def check_one_shot(self) -> None:
        """Raises INVALID_ARGUMENT where members and groups are programmed by id."""
        if self.members or self.groups:
            raise invalid(
                f"action profile {self.profile.name!r} has members and groups, so its tables take their ids, not an "
                "'action_profile_action_set'"
            )

    def set_group(self, group_id: int, group: Group) -> None:
        """Adds or replaces."""
        old = self.groups.get(group_id)
        self.group_sizes += group.size(self.profile) - (old.size(self.profile) if old is not None else 0)
        self.groups[group_id] = group

    def remove_group(self, group_id: int) -> None:
        """It is there."""
        self.group_sizes -= self.groups.pop(group_id).size(self.profile)
