# SPDX-License-Identifier: Apache-2.0
"""Entries checked against their table before they go in: the last line, whoever writes."""

from __future__ import annotations

from hvchannel_softswitch.engine import (
    Action,
    ActionCall,
    EngineError,
    EntryKey,
    Exact,
    Lpm,
    Match,
    Optional,
    Range,
    TableFull,
    Ternary,
)
from hvchannel_softswitch.model import MatchKind, Table, TableKey, ValueSet

_ACCEPTED: dict[MatchKind, tuple[type[Match], ...]] = {
    MatchKind.EXACT: (Exact,),
    MatchKind.LPM: (Lpm,),
    # p4c writes an optional key as a ternary one, so the program cannot tell the two apart.
    MatchKind.TERNARY: (Ternary, Optional),
    MatchKind.OPTIONAL: (Optional, Ternary),
    MatchKind.RANGE: (Range,),
}


def prefix_mask(length: int, width: int) -> int:
    """`length` ones, then zeros, `width` bits in all."""
    return (1 << width) - (1 << (width - length))


def check_key(table: Table, key: EntryKey) -> None:
    """Raises EngineError, naming the key and what it takes."""
    if len(key.matches) != len(table.keys):
        raise EngineError(f"table {table.name!r} has {len(table.keys)} keys, the entry {len(key.matches)}")
    for match, wanted in zip(key.matches, table.keys, strict=True):
        accepted = _ACCEPTED[wanted.kind]
        if not isinstance(match, accepted):
            kinds = " or ".join(kind.__name__ for kind in accepted)
            raise EngineError(f"{_named(wanted, table)}: it takes {kinds}, not {type(match).__name__}")
        if type(match) is Exact and 0 <= match.value < 1 << wanted.width:
            continue  # nearly every key there is; `_check_match` and its words are for the others
        _check_match(_named(wanted, table), wanted.width, match)


def check_members(value_set: ValueSet, members: tuple[tuple[Match, ...], ...]) -> None:
    """Raises EngineError, naming the key and what it takes, or TableFull. A member matches a key in any way."""
    for member in members:
        _check_member(value_set, member)
    if len(members) > value_set.size:
        raise TableFull(
            f"value set {value_set.name!r} holds {value_set.size} members, too few for {len(members)}"
        )


def _check_member(value_set: ValueSet, member: tuple[Match, ...]) -> None:
    name, widths = value_set.name, value_set.widths
    if len(member) != len(widths):
        raise EngineError(f"value set {name!r} has {len(widths)} keys, the member {len(member)}")
    for number, (match, width) in enumerate(zip(member, widths, strict=True)):
        _check_match(f"key {number} of value set {name!r}", width, match)


def _check_match(what: str, width: int, match: Match) -> None:
    full = (1 << width) - 1
    match match:
        case Lpm(prefix_len=length) if not 0 <= length <= width:
            raise _refusal(what, f"it takes prefixes of 0 to {width} bits, not {length}")
        case Lpm(value=value, prefix_len=length) if value & ~prefix_mask(length, width):
            raise _refusal(what, f"bits set after the prefix of {length} bits: {value:#x}")
        case Ternary(value=value, mask=mask) if value & ~mask or not 0 <= mask <= full:
            why = f"value {value:#x} goes beyond mask {mask:#x}, or the mask beyond the key's {width} bits"
            raise _refusal(what, why)
        case Range(low=low, high=high) if not 0 <= low <= high <= full:
            raise _refusal(what, f"it takes a range within 0 and {full:#x}, not {low:#x} to {high:#x}")
        case Exact(value=value) | Optional(value=int(value)) if not 0 <= value <= full:
            raise _refusal(what, f"it has {width} bits, too few for {value:#x}")
        case _:
            return


def _refusal(what: str, why: str) -> EngineError:
    return EngineError(f"{what}: {why}")


def _named(key: TableKey, table: Table) -> str:
    return f"key {key.name!r} of table {table.name!r}"


def check_direct_action(table: Table, action: Action) -> None:
    """Raises EngineError, naming what an entry of a table without an action profile can hold."""
    if not isinstance(action, ActionCall):
        raise EngineError(f"table {table.name!r} has no action profile; its entries hold actions")
    check_action(table, action)


def check_action(table: Table, call: ActionCall) -> None:
    """Raises EngineError, naming the action or argument and what would be valid."""
    try:
        action = table.action(call.name)
    except KeyError:
        valid = ", ".join(repr(known.name) for known in table.actions)
        raise EngineError(f"table {table.name!r} has no action {call.name!r} (valid: {valid})") from None
    if len(call.args) != len(action.params):
        raise EngineError(f"action {action.name!r} has {len(action.params)} parameters, not {len(call.args)}")
    for value, param in zip(call.args, action.params, strict=True):
        if not 0 <= value < 1 << param.width:
            raise EngineError(
                f"parameter {param.name!r} of action {action.name!r} has {param.width} bits, too few for {value:#x}"
            )
