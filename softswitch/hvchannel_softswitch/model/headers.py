# SPDX-License-Identifier: Apache-2.0
"""Headers: their types, their instances, stacks of them."""

from __future__ import annotations

from dataclasses import dataclass

MAX_BITS = 1 << 16
"""The widest a field, a header or a parameter can be; a frame is shorter than that allows."""


@dataclass(frozen=True, slots=True)
class FieldType:
    """A field of a header type. `shift` is its distance in bits from the header's end, counting a `varbit` field
    as empty. The `width` of a varbit field is the most it can have."""

    name: str
    width: int
    signed: bool
    shift: int
    varbit: bool = False


@dataclass(frozen=True, slots=True)
class HeaderType:
    """A header type of `width` bits, not counting a varbit field, of which there is at most one; on the wire its
    fields follow one another without gaps."""

    name: str
    width: int
    fields: tuple[FieldType, ...]

    def field(self, name: str) -> FieldType:
        """The field of that name. Raises KeyError."""
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(name)

    @property
    def varbit(self) -> FieldType | None:
        """The field of variable length, if there is one."""
        return next((field for field in self.fields if field.varbit), None)

    @property
    def max_width(self) -> int:
        """The most bits a header of this type can have."""
        return self.width + (self.varbit.width if self.varbit else 0)


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
    """A stack of header instances, index 0 first.

    A stack of header unions is one stack for each member of the union. They share the `position` of the next
    header (a name of its own); one of them `leads`: it moves the position when all are shifted.
    """

    name: str
    type: HeaderType
    headers: tuple[str, ...]
    position: str
    leads: bool = True
