# SPDX-License-Identifier: Apache-2.0
"""The entries that a program gives its tables."""

from __future__ import annotations

from hvchannel_softswitch.engine import ActionCall, Entry, EntryKey, Exact, Lpm, Match, Range, Ternary
from hvchannel_softswitch.model.program import Action, MatchKind, TableKey
from hvchannel_softswitch.model.reader import Place


def load_entries(place: Place, keys: tuple[TableKey, ...], actions: list[Action]) -> tuple[Entry, ...]:
    """The entries of a table."""
    read: list[tuple[tuple[Match, ...], int, ActionCall]] = []
    by_id = {action.id: action for action in actions}
    for item in place.items("entry"):
        matches = item.at("match_key").items("key")
        if len(matches) != len(keys):
            item.malformed(f"{len(matches)} matches for {len(keys)} keys")
        call = item.at("action_entry")
        action = by_id.get(call.at("action_id").integer())
        if action is None:
            call.malformed(f"action {call.value['action_id']} is not one of the table's")
        args = tuple(arg.hexadecimal() for arg in call.at("action_data").items("item"))
        if len(args) != len(action.params):
            call.malformed(f"action {action.name!r} has {len(action.params)} parameters, not {len(args)}")
        priority = item.maybe("priority")
        read.append(
            (
                tuple(_match(match, key) for match, key in zip(matches, keys, strict=True)),
                priority.integer() if priority else 0,
                ActionCall(action.name, args),
            )
        )
    # In the JSON a small priority wins, in P4Runtime a large one: turned round, the last entry gets 1.
    lowest = max((priority for _, priority, _ in read), default=0)
    ordered = any(key.kind in (MatchKind.TERNARY, MatchKind.RANGE, MatchKind.OPTIONAL) for key in keys)
    return tuple(
        Entry(EntryKey(matches, lowest + 1 - priority if ordered else 0), call, is_const=True)
        for matches, priority, call in read
    )


def _match(place: Place, key: TableKey) -> Match:
    full = (1 << key.width) - 1
    match key.kind:
        case MatchKind.EXACT:
            return Exact(_bits(place.at("key")) & full)
        case MatchKind.LPM:
            length = place.at("prefix_length").natural()
            mask = full & ~((1 << max(key.width - length, 0)) - 1)
            return Lpm(_bits(place.at("key")) & mask, length)
        case MatchKind.TERNARY | MatchKind.OPTIONAL:
            mask = _bits(place.at("mask")) & full
            return Ternary(_bits(place.at("key")) & mask, mask)
        case MatchKind.RANGE:
            return Range(_bits(place.at("start")), _bits(place.at("end")))


def _bits(place: Place) -> int:
    return int(place.value) if isinstance(place.value, bool) else place.hexadecimal()
