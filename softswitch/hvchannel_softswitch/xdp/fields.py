# SPDX-License-Identifier: Apache-2.0
"""From an entry's matches and arguments to the words of its record, and back. The way there is Python generated for
the table at hand, since controllers write many entries at once; the way back is plain code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from hvchannel_softswitch.engine import Exact, Lpm, Match, Optional, Range, Ternary
from hvchannel_softswitch.entry_checks import prefix_mask
from hvchannel_softswitch.model import MatchKind, TableKey
from hvchannel_softswitch.xdp.layout import HASH_MULTIPLIER, HASH_SHIFT
from hvchannel_softswitch.xdp.packing import WORD, WORD_MASK, Packing

Words: TypeAlias = tuple[int, ...]

Matches: TypeAlias = tuple[Match, ...]


def names(letter: str, count: int) -> list[str]:
    """Names of variables: the letter, numbered."""
    return [f"{letter}{number}" for number in range(count)]


def tuple_of(items: Sequence[str]) -> str:
    """A tuple of these expressions; as a target, what unpacks one."""
    return f"({''.join(f'{item}, ' for item in items)})"


def packed(packing: Packing, fields: Sequence[str]) -> list[str]:
    """An expression for each word, of the names or literals of the fields' values, which are within their widths."""
    words: list[list[str]] = [[] for _ in range(packing.words)]
    for field, width, pieces in zip(fields, packing.widths, packing.pieces, strict=True):
        for piece in pieces:
            text = f"({field} >> {piece.source})" if piece.source else field
            if piece.source + piece.width < width:
                text = f"({text} & {(1 << piece.width) - 1:#x})"
            words[piece.word].append(f"{text} << {piece.shift}" if piece.shift else text)
    return [" | ".join(terms) for terms in words]


def hash_lines(group: str, words: Sequence[str]) -> list[str]:
    """Statements that leave `layout.hash_words` in `value`."""
    lines = [f"value = {group}"]
    for word in words:
        lines.append(f"value = (value ^ {word}) * {HASH_MULTIPLIER:#x} & {WORD_MASK:#x}")
        lines.append(f"value ^= value >> {HASH_SHIFT}")
    return lines


def function(title: str, parameters: str, lines: Sequence[str], **known: Any) -> Any:
    """A function of these lines, which may use the names of `known`."""
    source = [f"def make({', '.join(known)}):", f"    def {title}({parameters}):"]
    source += [f"        {line}" for line in lines]
    source.append(f"    return {title}")
    space: dict[str, Any] = {}
    exec(compile("\n".join(source), f"<{title}>", "exec"), space)  # noqa: S102 (our own output)
    return space["make"](**known)


def split_function(
    keys: Sequence[TableKey], packing: Packing
) -> Callable[[Matches], tuple[Words, Words, Words]]:
    """A function that takes valid matches to the words of their masks, of their values (of a range, its low end), and
    of their ranges' high ends."""
    count = len(keys)
    lines = [f"{tuple_of(names('m', count))} = matches"]
    values, masks, highs = names("v", count), ["0"] * count, ["0"] * count
    prefixes: dict[str, list[int]] = {}
    for number, key in enumerate(keys):
        full = hex((1 << key.width) - 1)
        match key.kind:
            case MatchKind.EXACT:
                lines.append(f"v{number}, = m{number}")
                masks[number] = full
            case MatchKind.LPM:
                lines.append(f"v{number}, n{number} = m{number}")
                masks[number] = f"p{number}[n{number}]"
                prefixes[f"p{number}"] = [prefix_mask(length, key.width) for length in range(key.width + 1)]
            case MatchKind.RANGE:
                lines.append(f"v{number}, h{number} = m{number}")
                highs[number] = f"h{number}"
            case MatchKind.TERNARY | MatchKind.OPTIONAL:
                # An Optional has one number, a Ternary two (see entry_checks for where either may stand).
                masks[number] = f"k{number}"
                lines += [
                    f"if len(m{number}) == 2:",
                    f"    v{number}, k{number} = m{number}",
                    "else:",
                    f"    v{number}, = m{number}",
                    f"    k{number} = {full}",
                    f"    if v{number} is None:",
                    f"        v{number} = k{number} = 0",
                ]
    words = [tuple_of(packed(packing, fields)) for fields in (masks, values, highs)]
    lines.append(f"return {', '.join(words)}")
    split: Callable[[Matches], tuple[Words, Words, Words]] = function("split", "matches", lines, **prefixes)
    return split


def pack_function(packing: Packing) -> Callable[[Sequence[int]], Words]:
    """As `packing.pack`, and several times as fast."""
    fields = names("a", len(packing.widths))
    lines = [f"{tuple_of(fields)} = values", f"return {tuple_of(packed(packing, fields))}"]
    pack: Callable[[Sequence[int]], Words] = function("pack", "values", lines)
    return pack


def unpacked(packing: Packing, words: str) -> list[str]:
    """An expression for each field's value, of the name of the sequence that its words are in."""
    fields = []
    for pieces in packing.pieces:
        terms = []
        for piece in pieces:
            text = f"{words}[{piece.word}]"
            if piece.shift:
                text = f"({text} >> {piece.shift})"
            if piece.shift + piece.width < WORD:
                text = f"({text} & {(1 << piece.width) - 1:#x})"
            terms.append(f"{text} << {piece.source}" if piece.source else text)
        fields.append(f"({' | '.join(terms)})")
    return fields


def unpack_function(packing: Packing) -> Callable[[Sequence[int]], Words]:
    """As `packing.unpack`, and several times as fast."""
    lines = [f"return {tuple_of(unpacked(packing, 'words'))}"]
    unpack: Callable[[Sequence[int]], Words] = function("unpack", "words", lines)
    return unpack


def matches_function(
    keys: Sequence[TableKey], packing: Packing
) -> Callable[[Sequence[int], Sequence[int], Sequence[int]], Matches]:
    """The way back from `split_function`'s; an optional key comes back as Optional where it can be one."""
    made = []
    fields = (unpacked(packing, name) for name in ("masks", "words", "highs"))
    for key, mask, value, high in zip(keys, *fields, strict=True):
        match key.kind:
            case MatchKind.EXACT:
                made.append(f"new(Exact, ({value},))")
            case MatchKind.LPM:
                made.append(f"new(Lpm, ({value}, {mask}.bit_count()))")
            case MatchKind.RANGE:
                made.append(f"new(Range, ({value}, {high}))")
            case MatchKind.TERNARY:
                made.append(f"new(Ternary, ({value}, {mask}))")
            case MatchKind.OPTIONAL:
                made.append(f"optional({value}, {mask}, {(1 << key.width) - 1:#x})")
    lines = [f"return {tuple_of(made)}"]
    # The constructors of named tuples without the Python function in between.
    known = {"new": tuple.__new__, "Exact": Exact, "Lpm": Lpm, "Range": Range, "Ternary": Ternary}
    matches: Callable[[Sequence[int], Sequence[int], Sequence[int]], Matches] = function(
        "matches", "masks, words, highs", lines, optional=_optional, **known
    )
    return matches


def _optional(value: int, mask: int, full: int) -> Match:
    if not mask:
        return Optional(None)
    return Optional(value) if mask == full else Ternary(value, mask)
