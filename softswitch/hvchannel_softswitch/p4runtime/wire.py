# SPDX-License-Identifier: Apache-2.0
"""Where the values of a serialised protobuf message lie, by https://protobuf.dev/programming-guides/encoding."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TypeAlias

Path: TypeAlias = tuple[int, ...]
"""The field numbers that lead from the outermost message to a value."""

Span: TypeAlias = tuple[int, int]
"""The places of a value's first byte and of the first one after it; tag and length lie before."""

_VARINT, _LENGTH_DELIMITED, _GROUP, _END_OF_GROUP = 0, 2, 3, 4
_MORE = 0x80
"""The top bit of a varint's byte: another one follows."""

_BITS = 64

_FIXED_BYTES = {1: 8, 5: 4}
"""By wire type."""


def elements(data: bytes, number: int) -> list[bytes]:
    """The messages of a repeated field of the outermost message; `number` is below 16. `data` is what a serialiser
    wrote."""
    tag = number << 3 | _LENGTH_DELIMITED
    found: list[bytes] = []
    place, end = 0, len(data)
    while place < end:
        if data[place] == tag:
            length, start = data[place + 1], place + 2
            if length >= _MORE:
                length, start = varint(data, place + 1)
            place = start + length
            found.append(data[start:place])
        else:
            _, (_, place) = field(data, place)
    return found


def find(data: bytes, wanted: Collection[Path]) -> Iterator[tuple[Path, Span]]:
    """The values at these paths, in the order of the bytes. `data` is what a serialiser wrote."""
    yield from _find(data, (0, len(data)), (), wanted)


def _find(data: bytes, whole: Span, above: Path, wanted: Collection[Path]) -> Iterator[tuple[Path, Span]]:
    place, end = whole
    while place < end:
        number, span = field(data, place)
        path, place = (*above, number), span[1]
        if path in wanted:
            yield path, span
        elif any(longer[: len(path)] == path for longer in wanted):
            yield from _find(data, span, path, wanted)


def field(data: bytes, place: int) -> tuple[int, Span]:
    """The number of the field whose tag is there, and the place of its value. Raises as `varint` does."""
    tag, start = varint(data, place)
    kind = tag & 7
    if kind == _VARINT:
        _, end = varint(data, start)
    elif kind == _LENGTH_DELIMITED:
        length, start = varint(data, start)
        end = start + length
    elif kind == _GROUP:
        end = start
        while data[end] & 7 != _END_OF_GROUP:
            _, (_, end) = field(data, end)
        _, end = varint(data, end)
    else:
        end = start + _FIXED_BYTES[kind]
    return tag >> 3, (start, end)


def varint(data: bytes, place: int) -> tuple[int, int]:
    """The number, and the place after it. Raises IndexError where the data ends before it does, ValueError for a number
    that would not end."""
    value = shift = 0
    while shift < _BITS:
        byte = data[place]
        value |= (byte & ~_MORE) << shift
        shift, place = shift + 7, place + 1
        if byte < _MORE:
            return value, place
    raise ValueError(f"more than {_BITS} bits")
