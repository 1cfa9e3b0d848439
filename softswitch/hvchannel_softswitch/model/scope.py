# SPDX-License-Identifier: Apache-2.0
"""The names a program defines, as they become known while it is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from hvchannel_softswitch.model.expressions import FieldRef
from hvchannel_softswitch.model.headers import FieldType, Header, HeaderStack, HeaderType
from hvchannel_softswitch.model.program import (
    Action,
    ActionProfile,
    Counter,
    FieldList,
    LearnList,
    Meter,
    Param,
    Register,
    ValueSet,
)
from hvchannel_softswitch.model.reader import Place, choices
from hvchannel_softswitch.model.statements import Calculation

T = TypeVar("T")


@dataclass(slots=True)
class Scope:
    """Everything that can be referred to by name; `params` are those of the action being read."""

    headers: dict[str, Header] = field(default_factory=dict)
    stacks: dict[str, HeaderStack] = field(default_factory=dict)
    unions: dict[str, tuple[str, ...]] = field(default_factory=dict)
    union_stacks: dict[str, tuple[str, ...]] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    standard: dict[str, FieldRef] = field(default_factory=dict)
    counters: dict[str, Counter] = field(default_factory=dict)
    meters: dict[str, Meter] = field(default_factory=dict)
    registers: dict[str, Register] = field(default_factory=dict)
    calculations: dict[str, Calculation] = field(default_factory=dict)
    learn_lists: dict[int, LearnList] = field(default_factory=dict)
    field_lists: dict[int, FieldList] = field(default_factory=dict)
    value_sets: dict[str, ValueSet] = field(default_factory=dict)
    profiles: dict[str, ActionProfile] = field(default_factory=dict)
    actions: dict[int, Action] = field(default_factory=dict)
    params: tuple[Param, ...] = ()

    def header(self, place: Place) -> Header:
        """The header that `place` names."""
        return look_up(self.headers, place, "header")

    def stack(self, place: Place) -> HeaderStack:
        """The header stack that `place` names."""
        return look_up(self.stacks, place, "header stack")

    def field(self, place: Place) -> FieldRef:
        """The field that `place`, a pair of header and field names, refers to; not `$valid$`."""
        header_place, field_place = place.tuple_of(2)
        return self.field_of(self.header(header_place), field_place)

    def field_of(self, header: Header, place: Place) -> FieldRef:
        """The header's field that `place` names."""
        wanted = field_type(header.type, place)
        return FieldRef(header.name, wanted.name, wanted.width, wanted.signed)

    def varbit(self, place: Place) -> FieldRef:
        """The varbit field that `place`, a pair of header and field names, refers to."""
        header_place, field_place = place.tuple_of(2)
        header = self.header(header_place)
        wanted = field_type(header.type, field_place)
        if not wanted.varbit:
            place.malformed(f"field {wanted.name!r} of {header.name!r} has a fixed width; expected a varbit")
        return FieldRef(header.name, wanted.name, wanted.width)


def field_type(header_type: HeaderType, place: Place) -> FieldType:
    """The field of a header type that `place` names."""
    name = place.string()
    for candidate in header_type.fields:
        if candidate.name == name:
            return candidate
    return place.malformed(
        f"header type {header_type.name!r} has no field {name!r} (its fields: "
        f"{choices(f.name for f in header_type.fields)})"
    )


def look_up(table: Mapping[str, T], place: Place, kind: str) -> T:
    """The object that `place` names. Raises MalformedProgram with the names there are."""
    name = place.string()
    try:
        return table[name]
    except KeyError:
        place.malformed(f"no {kind} {name!r} (there are: {choices(table)})")
