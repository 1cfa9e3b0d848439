# SPDX-License-Identifier: Apache-2.0
"""FieldMatch messages (section "Match Format"): to the engine's matches and back.

"Don't care" is an omitted FieldMatch on the wire and a spelled-out match to the engine.
"""

from __future__ import annotations

from collections.abc import Iterable

from finsy.proto import p4r

from hvchannel_softswitch.engine import EntryKey, Exact, Lpm, Match, Optional, Range, Ternary
from hvchannel_softswitch.model import MatchKind
from hvchannel_softswitch.p4runtime.errors import choices, invalid, listing
from hvchannel_softswitch.p4runtime.p4info import KeyField, Table
from hvchannel_softswitch.p4runtime.values import to_bytes, to_int


def decode_key(table: Table, matches: Iterable[p4r.FieldMatch], priority: int) -> EntryKey:
    """The entry key of a TableEntry. Raises INVALID_ARGUMENT, or OUT_OF_RANGE for a value too wide."""
    given: dict[int, p4r.FieldMatch] = {}
    known = {key.id for key in table.keys}
    for match in matches:
        if match.field_id not in known:
            raise invalid(
                f"match field ID {match.field_id} is not a key of table {table.name!r} "
                f"{choices((key.name, key.id) for key in table.keys)}"
            )
        if match.field_id in given:
            raise invalid(f"match field ID {match.field_id} of table {table.name!r} is given twice")
        given[match.field_id] = match
    missing = [key for key in table.keys if key.kind is MatchKind.EXACT and key.id not in given]
    if missing:
        raise invalid(
            f"table {table.name!r} needs a value for every exact key, missing: "
            f"{listing([f'{key.name!r} (ID {key.id})' for key in missing])}"
        )
    _check_priority(table, priority)
    decoded: list[Match] = []
    for key in table.keys:
        value = _decode(table, key, given[key.id]) if key.id in given else _dont_care(key)
        assert value is not None, "exact keys are all given"
        decoded.append(value)
    return EntryKey(tuple(decoded), priority)


def encode_key(table: Table, key: EntryKey) -> list[p4r.FieldMatch]:
    """The FieldMatch messages of an entry, "don't care" ones left out, by ascending field id."""
    pairs = zip(table.keys, key.matches, strict=True)
    encoded = [_encode(field, match) for field, match in pairs if match != _dont_care(field)]
    return sorted(encoded, key=lambda match: match.field_id)


def describe_key(table: Table, key: EntryKey) -> str:
    """For messages: `vni=0x1389, dst_ip=0xa9fe0000/16, priority 10`."""
    parts = [
        f"{field.name}={_describe(match)}"
        for field, match in zip(table.keys, key.matches, strict=True)
        if match != _dont_care(field)
    ]
    if table.needs_priority:
        parts.append(f"priority {key.priority}")
    return ", ".join(parts) or "any packet"


def _check_priority(table: Table, priority: int) -> None:
    if table.needs_priority and priority <= 0:
        raise invalid(
            f"priority {priority} is not valid for table {table.name!r}: it has ternary, range or optional "
            "keys, so each entry needs a priority of 1 or more"
        )
    if not table.needs_priority and priority != 0:
        raise invalid(
            f"priority {priority} is not valid for table {table.name!r}: it has only exact and lpm keys, "
            "so the priority must be 0"
        )


def _decode(table: Table, key: KeyField, match: p4r.FieldMatch) -> Match:
    what = f"match field {key.name!r} of table {table.name!r}"
    given = match.WhichOneof("field_match_type")
    if given != key.kind.value:
        raise invalid(f"{what} is {key.kind.value}, not {given or 'set'}")
    match key.kind:
        case MatchKind.EXACT:
            return Exact(to_int(match.exact.value, key.width, what))
        case MatchKind.LPM:
            return _decode_lpm(key, match.lpm, what)
        case MatchKind.TERNARY:
            return _decode_ternary(key, match.ternary, what)
        case MatchKind.RANGE:
            return _decode_range(key, match.range, what)
        case MatchKind.OPTIONAL:
            value = to_int(match.optional.value, key.width, what)
            return Ternary(value, _all_ones(key)) if key.as_ternary else Optional(value)


def _decode_lpm(key: KeyField, lpm: p4r.FieldMatch.LPM, what: str) -> Lpm:
    value, length = to_int(lpm.value, key.width, what), lpm.prefix_len
    if length == 0:
        raise invalid(f"{what} has prefix length 0, which matches anything: leave the field out instead")
    if not 0 < length <= key.width:
        raise invalid(f"{what} has prefix length {length} (valid: 1 to {key.width})")
    if value & ((1 << (key.width - length)) - 1):
        raise invalid(
            f"{what} value 0x{value:x} has bits set after its prefix of {length} bits: they must be 0"
        )
    return Lpm(value, length)


def _decode_ternary(key: KeyField, ternary: p4r.FieldMatch.Ternary, what: str) -> Ternary:
    value, mask = to_int(ternary.value, key.width, what), to_int(ternary.mask, key.width, f"mask of {what}")
    if mask == 0:
        raise invalid(f"{what} has mask 0, which matches anything: leave the field out instead")
    if value & ~mask:
        raise invalid(f"{what} value 0x{value:x} has bits set outside its mask 0x{mask:x}: they must be 0")
    return Ternary(value, mask)


def _decode_range(key: KeyField, bounds: p4r.FieldMatch.Range, what: str) -> Range:
    low = to_int(bounds.low, key.width, f"low bound of {what}")
    high = to_int(bounds.high, key.width, f"high bound of {what}")
    if low > high:
        raise invalid(f"{what} has low bound 0x{low:x} above its high bound 0x{high:x}")
    decoded = Range(low, high)
    if decoded == _dont_care(key):
        raise invalid(
            f"{what} has a range of all values, which matches anything: leave the field out instead"
        )
    return decoded


def _dont_care(key: KeyField) -> Match | None:
    match key.kind:
        case MatchKind.EXACT:
            return None
        case MatchKind.LPM:
            return Lpm(0, 0)
        case MatchKind.TERNARY:
            return Ternary(0, 0)
        case MatchKind.RANGE:
            return Range(0, _all_ones(key))
        case MatchKind.OPTIONAL:
            return Ternary(0, 0) if key.as_ternary else Optional(None)


def _all_ones(key: KeyField) -> int:
    return (1 << key.width) - 1


def _encode(key: KeyField, match: Match) -> p4r.FieldMatch:
    encoded = p4r.FieldMatch(field_id=key.id)
    match match:
        case Exact(value):
            encoded.exact.value = to_bytes(value)
        case Lpm(value, prefix_len):
            encoded.lpm.value, encoded.lpm.prefix_len = to_bytes(value), prefix_len
        case Ternary(value) if key.as_ternary:
            encoded.optional.value = to_bytes(value)
        case Ternary(value, mask):
            encoded.ternary.value, encoded.ternary.mask = to_bytes(value), to_bytes(mask)
        case Range(low, high):
            encoded.range.low, encoded.range.high = to_bytes(low), to_bytes(high)
        case Optional(value):
            assert value is not None, "don't care is not encoded"
            encoded.optional.value = to_bytes(value)
    return encoded


def _describe(match: Match) -> str:
    match match:
        case Exact(value) | Optional(value):
            return f"0x{value:x}"
        case Lpm(value, prefix_len):
            return f"0x{value:x}/{prefix_len}"
        case Ternary(value, mask):
            return f"0x{value:x}&&&0x{mask:x}"
        case Range(low, high):
            return f"0x{low:x}..0x{high:x}"
