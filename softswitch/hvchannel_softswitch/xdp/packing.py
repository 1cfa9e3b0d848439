# SPDX-License-Identifier: Apache-2.0
"""Fields packed into 64 bit words, the way keys and action arguments are kept: few words to hash, load and compare,
and each field within a word (a field wider than a word has words of its own)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WORD = 64
WORD_MASK = (1 << WORD) - 1


@dataclass(frozen=True, slots=True)
class Piece:
    """`width` bits of a field, from bit `source` of the field on, are at bit `shift` of word `word`."""

    word: int
    shift: int
    width: int
    source: int


@dataclass(frozen=True, slots=True)
class Packing:
    """Where each of several fields is in `words` words."""

    widths: tuple[int, ...]
    words: int
    pieces: tuple[tuple[Piece, ...], ...]

    def pack(self, values: Sequence[int]) -> tuple[int, ...]:
        """The words that hold these values, one per field, each within its width."""
        words = [0] * self.words
        for pieces, value in zip(self.pieces, values, strict=True):
            for piece in pieces:
                words[piece.word] |= (value >> piece.source & ((1 << piece.width) - 1)) << piece.shift
        return tuple(words)

    def unpack(self, words: Sequence[int]) -> tuple[int, ...]:
        """The values that these words hold."""
        return tuple(
            sum((words[p.word] >> p.shift & ((1 << p.width) - 1)) << p.source for p in pieces)
            for pieces in self.pieces
        )


def packing(widths: Sequence[int]) -> Packing:
    """A packing for fields of these widths, the widest placed first, each into the first word that has room."""
    pieces: list[list[Piece]] = [[] for _ in widths]
    used: list[int] = []

    def place(field: int, width: int, source: int) -> None:
        for word, bits in enumerate(used):
            if bits + width <= WORD:
                pieces[field].append(Piece(word, bits, width, source))
                used[word] += width
                return
        pieces[field].append(Piece(len(used), 0, width, source))
        used.append(width)

    for field in sorted(range(len(widths)), key=lambda number: (-widths[number], number)):
        for source in range(0, widths[field], WORD):
            place(field, min(WORD, widths[field] - source), source)
    return Packing(tuple(widths), len(used), tuple(map(tuple, pieces)))
