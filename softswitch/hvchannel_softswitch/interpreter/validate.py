# SPDX-License-Identifier: Apache-2.0
"""Entries checked against their table before they go in: the last line, whoever writes."""

from __future__ import annotations

from hvchannel_softswitch.engine import (
    ActionCall,
    EngineError,
    EntryKey,
    Exact,
    Lpm,
    Match,
    Optional,
    Range,
    Ternary,
)
from hvchannel_softswitch.interpreter.tables import prefix_mask
from hvchannel_softswitch.model import MatchKind, Table, TableKey

_ACCEPTED: dict[MatchKind, tuple[type[Match], ...]] = {
    MatchKind.EXACT: (Exact,),
    MatchKind.LPM: (Lpm,),
    # p4c writes an optional key as a ternary one, so the program cannot tell the two apart.
    MatchKind.TERNARY: (Ternary, Optional),
    MatchKind.OPTIONAL: (Optional, Ternary),
    MatchKind.RANGE: (Range,),
}


def check_key(table: Table, key: EntryKey) -> None:
    """Raises EngineError, naming the key and what it takes."""
    if len(key.matches) != len(table.keys):
        raise EngineError(f"table {table.name!r} has {len(table.keys)} keys, the entry {len(key.matches)}")
    for match, wanted in zip(key.matches, table.keys, strict=True):
        accepted = _ACCEPTED[wanted.kind]
        if not isinstance(match, accepted):
            kinds = " or ".join(kind.__name__ for kind in accepted)
            raise _refusal(table, wanted, f"it takes {kinds}, not {type(match).__name__}")
        _check_match(table, wanted, match)


def _check_match(table: Table, key: TableKey, match: Match) -> None:
    full = (1 << key.width) - 1
    match match:
        case Lpm(prefix_len=length) if not 0 <= length <= key.width:
            raise _refusal(table, key, f"it takes prefixes of 0 to {key.width} bits, not {length}")
        case Lpm(value=value, prefix_len=length) if value & ~prefix_mask(length, key.width):
            raise _refusal(table, key, f"bits set after the prefix of {length} bits: {value:#x}")
        case Ternary(value=value, mask=mask) if value & ~mask or not 0 <= mask <= full:
            why = (
                f"value {value:#x} goes beyond mask {mask:#x}, or the mask beyond the key's {key.width} bits"
            )
            raise _refusal(table, key, why)
        case Range(low=low, high=high) if not 0 <= low <= high <= full:
            raise _refusal(table, key, f"it takes a range within 0 and {full:#x}, not {low:#x} to {high:#x}")
        case Exact(value=value) | Optional(value=int(value)) if not 0 <= value <= full:
            raise _refusal(table, key, f"it has {key.width} bits, too few for {value:#x}")
        case _:
            return


def _refusal(table: Table, key: TableKey, why: str) -> EngineError:
    return EngineError(f"key {key.name!r} of table {table.name!r}: {why}")


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
