# SPDX-License-Identifier: Apache-2.0
"""Headers: their types, their instances, stacks of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldType:
    """A field of a header type. `shift` is its distance in bits from the header's end."""

    name: str
    width: int
    signed: bool
    shift: int


@dataclass(frozen=True, slots=True)
class HeaderType:
    """A header type of `width` bits; on the wire its fields follow one another without gaps."""

    name: str
    width: int
    fields: tuple[FieldType, ...]

    def field(self, name: str) -> FieldType:
        """The field of that name. Raises KeyError."""
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(name)


@dataclass(frozen=True, slots=True)
class Header:
    """An instance of a header type; of metadata, validity is always true. `peers` are the other members of
    the header union it belongs to: one of them valid makes the rest invalid."""

    name: str
    type: HeaderType
    metadata: bool
    peers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HeaderStack:
    """A stack of header instances, index 0 first."""

    name: str
    type: HeaderType
    headers: tuple[str, ...]
