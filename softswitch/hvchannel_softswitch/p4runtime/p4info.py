# SPDX-License-Identifier: Apache-2.0
"""P4Info as the server uses it: what each numeric id names, and the shape of the thing named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Protocol, TypeAlias, TypeVar

from hvchannel_softswitch.engine import Lpm, Match, Optional, Range, Ternary
from hvchannel_softswitch.model import MatchKind
from hvchannel_softswitch.p4runtime.data_types import DataField
from hvchannel_softswitch.p4runtime.digest_types import Digest
from hvchannel_softswitch.p4runtime.errors import choices, invalid
from hvchannel_softswitch.p4runtime.profile_types import Profile
from hvchannel_softswitch.p4runtime.translations import Translation
from hvchannel_softswitch.p4runtime.values import to_bytes, to_int


class Scope(Enum):
    """Where a table may use an action."""

    TABLE_AND_DEFAULT = 0
    TABLE_ONLY = 1
    DEFAULT_ONLY = 2


@dataclass(frozen=True, slots=True)
class ValueField:
    """One value; `width` in bits, the data plane's where a translation stands between the two sides (once
    `alignment.align` has seen the JSON)."""

    id: int
    name: str
    width: int
    translation: Translation | None = field(default=None, kw_only=True)

    def decode(self, data: bytes, what: str) -> int:
        """The data plane's value; `what` names it in the error. Raises OUT_OF_RANGE, or what the translation
        does."""
        if self.translation is not None:
            return self.translation.decode(data, self.width, what)
        return to_int(data, self.width, what)

    def encode(self, value: int) -> bytes:
        """The value as the controller sees it."""
        return to_bytes(value) if self.translation is None else self.translation.encode(value)


class Param(ValueField):
    """One parameter of an action."""

    __slots__ = ()


class PacketField(ValueField):
    """One metadata field of a controller packet header."""

    __slots__ = ()


PacketHeader: TypeAlias = tuple[PacketField, ...]
"""The fields of packet_in or packet_out in the order of the header on the wire."""


@dataclass(frozen=True, slots=True)
class KeyField(ValueField):
    """One key of a table or value set. `as_ternary` marks an optional key that the JSON has as a ternary one, as
    p4c writes it: the engine gets it with a mask of all ones."""

    kind: MatchKind
    as_ternary: bool = False

    @property
    def all_ones(self) -> int:
        """The largest value."""
        return (1 << self.width) - 1

    @property
    def dont_care(self) -> Match | None:
        """The match that an omitted FieldMatch means; None for an exact key, which cannot be omitted."""
        match self.kind:
            case MatchKind.EXACT:
                return None
            case MatchKind.LPM:
                return Lpm(0, 0)
            case MatchKind.TERNARY:
                return Ternary(0, 0)
            case MatchKind.RANGE:
                return Range(0, self.all_ones)
            case MatchKind.OPTIONAL:
                return Ternary(0, 0) if self.as_ternary else Optional(None)


@dataclass(frozen=True)
class Keyed:
    """What has match keys; in the order of the JSON's once `alignment.align` has seen it."""

    id: int
    name: str
    full_name: str
    keys: tuple[KeyField, ...]

    @property
    def title(self) -> str:
        """For messages: `table 'forward'`."""
        raise NotImplementedError

    @cached_property
    def places(self) -> Mapping[int, int]:
        """The place of each key, by its id."""
        return {key.id: place for place, key in enumerate(self.keys)}

    @cached_property
    def plain_widths(self) -> tuple[int, ...]:
        """The width of each key that is exact and not translated; 0 for the others."""
        plain = (key.kind is MatchKind.EXACT and key.translation is None for key in self.keys)
        return tuple(key.width if is_plain else 0 for key, is_plain in zip(self.keys, plain, strict=True))

    @cached_property
    def dont_cares(self) -> tuple[Match | None, ...]:
        """What each key means when it is omitted."""
        return tuple(key.dont_care for key in self.keys)


@dataclass(frozen=True)
class ValueSet(Keyed):
    """A parser value set of at most `size` members."""

    size: int

    @property
    def title(self) -> str:
        """See Keyed."""
        return f"value set {self.name!r}"


@dataclass(frozen=True)
class Action:
    """`full_name` is the JSON's, `name` the short alias used in messages; `params` in the order of
    the JSON's runtime data once `alignment.align` has seen the JSON, else in the P4Info's."""

    id: int
    name: str
    full_name: str
    params: tuple[Param, ...]

    @cached_property
    def by_id(self) -> Mapping[int, tuple[int, int, Param]]:
        """The place of each parameter, its width (0 for a translated one), and the parameter itself, by its id."""
        widths = [0 if param.translation is not None else param.width for param in self.params]
        return {
            param.id: (place, width, param)
            for place, (param, width) in enumerate(zip(self.params, widths, strict=True))
        }


@dataclass(frozen=True)
class Table(Keyed):
    """`actions` by id, each with its scope. `profile`: where its actions come from, None for a direct table."""

    actions: Mapping[int, tuple[Action, Scope]]
    size: int
    const_default: bool
    is_const: bool
    has_initial_entries: bool
    profile: Profile | None
    has_idle_timeout: bool
    direct_counter: str | None
    direct_meter: Meter | None

    @property
    def title(self) -> str:
        """See Keyed."""
        return f"table {self.name!r}"

    @cached_property
    def needs_priority(self) -> bool:
        """Whether its entries carry a priority: one key at least is ternary, range or optional."""
        return any(key.kind in (MatchKind.TERNARY, MatchKind.RANGE, MatchKind.OPTIONAL) for key in self.keys)

    @cached_property
    def actions_by_name(self) -> Mapping[str, Action]:
        """The actions by the JSON's name."""
        return {action.full_name: action for action, _ in self.actions.values()}


@dataclass(frozen=True, slots=True)
class Counter:
    """An indirect counter array of `size` cells."""

    id: int
    name: str
    full_name: str
    size: int


@dataclass(frozen=True, slots=True)
class Meter:
    """A meter array (`size` cells), or a direct meter (`size` 0). `single_rate` restricts its
    configurations."""

    id: int
    name: str
    full_name: str
    size: int
    single_rate: bool


@dataclass(frozen=True, slots=True)
class Register:
    """An array of `size` cells."""

    id: int
    name: str
    full_name: str
    size: int
    cell: DataField


class _Named(Protocol):
    @property
    def id(self) -> int: ...
    @property
    def name(self) -> str: ...


_T = TypeVar("_T", bound=_Named)


@dataclass(frozen=True)
class Program:
    """All of a P4Info, by id."""

    tables: Mapping[int, Table]
    actions: Mapping[int, Action]
    counters: Mapping[int, Counter]
    meters: Mapping[int, Meter]
    digests: Mapping[int, Digest]
    packet_in: PacketHeader
    packet_out: PacketHeader
    profiles: Mapping[int, Profile]
    value_sets: Mapping[int, ValueSet]
    registers: Mapping[int, Register]

    @cached_property
    def tables_by_name(self) -> Mapping[str, Table]:
        """The tables by the JSON's name."""
        return {table.full_name: table for table in self.tables.values()}

    def table(self, table_id: int) -> Table:
        """Raises INVALID_ARGUMENT, naming the tables there are."""
        return _find(self.tables, table_id, "table")

    def counter(self, counter_id: int) -> Counter:
        """Raises INVALID_ARGUMENT, naming the indirect counters there are."""
        return _find(self.counters, counter_id, "indirect counter")

    def meter(self, meter_id: int) -> Meter:
        """Raises INVALID_ARGUMENT, naming the indirect meters there are."""
        return _find(self.meters, meter_id, "indirect meter")

    def digest(self, digest_id: int) -> Digest:
        """Raises INVALID_ARGUMENT, naming the digests there are."""
        return _find(self.digests, digest_id, "digest")

    def profile(self, profile_id: int) -> Profile:
        """Raises INVALID_ARGUMENT, naming the action profiles there are."""
        return _find(self.profiles, profile_id, "action profile")

    def value_set(self, value_set_id: int) -> ValueSet:
        """Raises INVALID_ARGUMENT, naming the value sets there are."""
        return _find(self.value_sets, value_set_id, "value set")

    def register(self, register_id: int) -> Register:
        """Raises INVALID_ARGUMENT, naming the registers there are."""
        return _find(self.registers, register_id, "register")


def _find(where: Mapping[int, _T], number: int, kind: str) -> _T:
    found = where.get(number)
    if found is None:
        raise invalid(
            f"{kind} ID {number} is not in the P4Info {choices((x.name, x.id) for x in where.values())}"
        )
    return found
