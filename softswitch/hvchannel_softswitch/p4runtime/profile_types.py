# SPDX-License-Identifier: Apache-2.0
"""An action profile or selector as the P4Info describes it (section "ActionProfile")."""

from __future__ import annotations

from dataclasses import dataclass

from finsy.proto import p4i


@dataclass(frozen=True, slots=True)
class Profile:
    """`size`, `max_group_size`: members, or with `sums_weights` their weights; 0 means no limit. `table_ids`: the
    tables that take their actions from it. `max_member_weight` 0: no limit."""

    id: int
    name: str
    full_name: str
    table_ids: tuple[int, ...]
    has_selector: bool
    size: int
    max_group_size: int
    sums_weights: bool
    max_member_weight: int
    weights_disallowed: bool


def read_profile(profile: p4i.ActionProfile) -> Profile:
    """An unset selector_size_semantics is sum_of_weights."""
    return Profile(
        id=profile.preamble.id,
        name=profile.preamble.alias or profile.preamble.name,
        full_name=profile.preamble.name,
        table_ids=tuple(profile.table_ids),
        has_selector=profile.with_selector,
        size=profile.size,
        max_group_size=profile.max_group_size,
        sums_weights=not profile.HasField("sum_of_members"),
        max_member_weight=profile.sum_of_members.max_member_weight,
        weights_disallowed=profile.weights_disallowed,
    )
