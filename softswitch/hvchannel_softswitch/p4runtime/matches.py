# SPDX-License-Identifier: Apache-2.0
"""FieldMatch messages (section "Match Format"): to the engine's matches and back.

"Don't care" is an omitted FieldMatch on the wire and a spelled-out match to the engine.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from finsy.proto import p4r

from hvchannel_softswitch.engine import EntryKey, Exact, Lpm, Match, Optional, Range, Ternary
from hvchannel_softswitch.model import MatchKind
from hvchannel_softswitch.p4runtime.errors import P4RuntimeError, choices, invalid, listing
from hvchannel_softswitch.p4runtime.p4info import Keyed, KeyField, Table
from hvchannel_softswitch.p4runtime.values import to_bytes


def decode_key(table: Table, matches: Iterable[p4r.FieldMatch], priority: int) -> EntryKey:
    """The entry key of a TableEntry. Raises INVALID_ARGUMENT, or OUT_OF_RANGE for a value too wide."""
    decoded = decode_matches(table, matches)
    if table.needs_priority is not (priority > 0) or priority < 0:
        raise _wrong_priority(table, priority)
    return EntryKey(decoded, priority)


def decode_matches(keyed: Keyed, matches: Iterable[p4r.FieldMatch]) -> tuple[Match, ...]:
    """One match for each key, in the order of the keys. Raises as decode_key does."""
    places, keys, plain = keyed.places, keyed.keys, keyed.plain_widths
    decoded: list[Match | None] = [None] * len(keys)
    given = 0
    for match in matches:
        place = places.get(match.field_id)
        if place is None:
            raise invalid(
                f"match field ID {match.field_id} is not a key of {keyed.title} "
                f"{choices((key.name, key.id) for key in keys)}"
            )
        if decoded[place] is not None:
            raise invalid(f"match field ID {match.field_id} of {keyed.title} is given twice")
        given += 1
        # Nearly all keys of nearly all writes are plain exact ones in order; `_decode` finds the words for those that
        # are not. Another kind of match reads as an exact one without a value.
        if data := plain[place] and match.exact.value:
            value = int.from_bytes(data, "big")
            if not value >> plain[place]:
                decoded[place] = Exact(value)
                continue
        decoded[place] = _decode(keyed, keys[place], match)
    if given == len(keys):
        return tuple(decoded)  # type: ignore[arg-type]
    filled = [given or omitted for given, omitted in zip(decoded, keyed.dont_cares, strict=True)]
    missing = [key for key, value in zip(keys, filled, strict=True) if value is None]
    if missing:
        raise invalid(
            f"{keyed.title} needs a value for every exact key, missing: "
            f"{listing([f'{key.name!r} (ID {key.id})' for key in missing])}"
        )
    return tuple(value for value in filled if value is not None)


def encode_key(table: Table, key: EntryKey) -> list[p4r.FieldMatch]:
    """The FieldMatch messages of an entry, "don't care" ones left out, by ascending field id."""
    return encode_matches(table, key.matches)


def encode_matches(keyed: Keyed, matches: Sequence[Match]) -> list[p4r.FieldMatch]:
    """As encode_key, of an entry or of a value set's member."""
    rows = zip(keyed.keys, matches, keyed.dont_cares, strict=True)
    encoded = [_encode(field, match) for field, match, omitted in rows if match != omitted]
    return sorted(encoded, key=lambda match: match.field_id)


def describe_key(table: Table, key: EntryKey) -> str:
    """For messages: `vni=0x1389, dst_ip=0xa9fe0000/16, priority 10`."""
    parts = [describe_matches(table, key.matches)]
    if table.needs_priority:
        parts.append(f"priority {key.priority}")
    return ", ".join(part for part in parts if part) or "any packet"


def describe_matches(keyed: Keyed, matches: Sequence[Match]) -> str:
    """For messages: `vni=0x1389, dst_ip=0xa9fe0000/16`; empty where every key is "don't care"."""
    rows = zip(keyed.keys, matches, keyed.dont_cares, strict=True)
    return ", ".join(f"{field.name}={_describe(match)}" for field, match, omitted in rows if match != omitted)


def _wrong_priority(table: Table, priority: int) -> P4RuntimeError:
    if table.needs_priority:
        return invalid(
            f"priority {priority} is not valid for table {table.name!r}: it has ternary, range or optional "
            "keys, so each entry needs a priority of 1 or more"
        )
    return invalid(
        f"priority {priority} is not valid for table {table.name!r}: it has only exact and lpm keys, "
        "so the priority must be 0"
    )


def _decode(keyed: Keyed, key: KeyField, match: p4r.FieldMatch) -> Match:
    what = f"match field {key.name!r} of {keyed.title}"
    given = match.WhichOneof("field_match_type")
    if given != key.kind.value:
        raise invalid(f"{what} is {key.kind.value}, not {given or 'set'}")
    if key.translation is not None:
        return _decode_translated(key, match, what)
    match key.kind:
        case MatchKind.EXACT:
            return Exact(key.decode(match.exact.value, what))
        case MatchKind.LPM:
            return _decode_lpm(key, match.lpm, what)
        case MatchKind.TERNARY:
            return _decode_ternary(key, match.ternary, what)
        case MatchKind.RANGE:
            return _decode_range(key, match.range, what)
        case MatchKind.OPTIONAL:
            value = key.decode(match.optional.value, what)
            return Ternary(value, key.all_ones) if key.as_ternary else Optional(value)


def _decode_lpm(key: KeyField, lpm: p4r.FieldMatch.LPM, what: str) -> Lpm:
    value, length = key.decode(lpm.value, what), lpm.prefix_len
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
    value, mask = key.decode(ternary.value, what), key.decode(ternary.mask, f"mask of {what}")
    if mask == 0:
        raise invalid(f"{what} has mask 0, which matches anything: leave the field out instead")
    if value & ~mask:
        raise invalid(f"{what} value 0x{value:x} has bits set outside its mask 0x{mask:x}: they must be 0")
    return Ternary(value, mask)


def _decode_range(key: KeyField, bounds: p4r.FieldMatch.Range, what: str) -> Range:
    low = key.decode(bounds.low, f"low bound of {what}")
    high = key.decode(bounds.high, f"high bound of {what}")
    if low > high:
        raise invalid(f"{what} has low bound 0x{low:x} above its high bound 0x{high:x}")
    decoded = Range(low, high)
    if decoded == key.dont_care:
        raise invalid(
            f"{what} has a range of all values, which matches anything: leave the field out instead"
        )
    return decoded


def _decode_translated(key: KeyField, match: p4r.FieldMatch, what: str) -> Match:
    """Bits and order mean nothing in a translated value, so any kind of match must come down to one value or to
    "don't care", as section "Translation of Match Fields" allows a server to ask for."""
    assert key.translation is not None
    width = key.translation.sdn_width or 0
    match key.kind:
        case MatchKind.EXACT:
            return Exact(key.decode(match.exact.value, what))
        case MatchKind.OPTIONAL:
            value = key.decode(match.optional.value, what)
            return Ternary(value, key.all_ones) if key.as_ternary else Optional(value)
        case MatchKind.LPM:
            if match.lpm.prefix_len != width:
                raise invalid(
                    f"{what} is translated, so it takes whole values only: prefix length {match.lpm.prefix_len} "
                    f"(valid: {width})"
                )
            return Lpm(key.decode(match.lpm.value, what), key.width)
        case MatchKind.TERNARY:
            mask = int.from_bytes(match.ternary.mask, "big")
            if mask != (1 << width) - 1:
                raise invalid(
                    f"{what} is translated, so it takes whole values only: mask 0x{mask:x} "
                    f"(valid: 0x{(1 << width) - 1:x})"
                )
            return Ternary(key.decode(match.ternary.value, what), key.all_ones)
        case MatchKind.RANGE:
            low, high = (key.decode(bound, what) for bound in (match.range.low, match.range.high))
            if low != high:
                raise invalid(
                    f"{what} is translated, so it takes whole values only: low and high bound must be equal"
                )
            return Range(low, high)


def _encode(key: KeyField, match: Match) -> p4r.FieldMatch:
    encoded = p4r.FieldMatch(field_id=key.id)
    encode = key.encode
    sdn_width = key.translation.sdn_width if key.translation is not None else None
    match match:
        case Exact(value):
            encoded.exact.value = encode(value)
        case Lpm(value, prefix_len):
            encoded.lpm.value, encoded.lpm.prefix_len = encode(value), sdn_width or prefix_len
        case Ternary(value) if key.as_ternary:
            encoded.optional.value = encode(value)
        case Ternary(value, mask):
            encoded.ternary.value = encode(value)
            encoded.ternary.mask = to_bytes(mask if sdn_width is None else (1 << sdn_width) - 1)
        case Range(low, high):
            encoded.range.low, encoded.range.high = encode(low), encode(high)
        case Optional(value):
            assert value is not None, "don't care is not encoded"
            encoded.optional.value = encode(value)
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
