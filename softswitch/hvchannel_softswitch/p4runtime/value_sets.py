# SPDX-License-Identifier: Apache-2.0
"""Write and Read of ValueSetEntry (section "ValueSetEntry"): all members of a parser value set at once."""

from __future__ import annotations

from collections.abc import Iterator

from finsy.proto import p4r

from hvchannel_softswitch.engine import Match
from hvchannel_softswitch.p4runtime.counters_meters import only_modify
from hvchannel_softswitch.p4runtime.errors import Code, P4RuntimeError
from hvchannel_softswitch.p4runtime.matches import decode_matches, describe_matches, encode_matches
from hvchannel_softswitch.p4runtime.pipeline import Pipeline


def write_value_set(pipeline: Pipeline, kind: p4r.Update.Type.ValueType, message: p4r.ValueSetEntry) -> None:
    """Replaces the members. Raises ALREADY_EXISTS for a member given twice, RESOURCE_EXHAUSTED for too many."""
    value_set = pipeline.program.value_set(message.value_set_id)
    only_modify(kind, value_set.title)
    members: dict[tuple[Match, ...], None] = {}
    for member in message.members:
        matches = decode_matches(value_set, member.match)
        if matches in members:
            raise P4RuntimeError(
                Code.ALREADY_EXISTS,
                f"{value_set.title} has the member {describe_matches(value_set, matches) or 'of any value'} twice",
            )
        members[matches] = None
    if len(members) > value_set.size:
        raise P4RuntimeError(
            Code.RESOURCE_EXHAUSTED,
            f"{value_set.title} holds {value_set.size} members, not {len(members)}",
        )
    pipeline.engine.set_value_set(value_set.full_name, tuple(members))


def read_value_sets(pipeline: Pipeline, wanted: p4r.ValueSetEntry) -> Iterator[p4r.ValueSetEntry]:
    """One value set, or (id 0) all of them; each with all its members."""
    program, number = pipeline.program, wanted.value_set_id
    for value_set in [program.value_set(number)] if number else program.value_sets.values():
        members = [
            p4r.ValueSetMember(match=encode_matches(value_set, matches))
            for matches in pipeline.engine.value_set(value_set.full_name)
        ]
        yield p4r.ValueSetEntry(value_set_id=value_set.id, members=members)
