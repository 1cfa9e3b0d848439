# SPDX-License-Identifier: Apache-2.0
"""P4Info as the server uses it: what each numeric id names, and the shape of the thing named."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeAlias, TypeVar

from finsy.proto import p4i

from hvchannel_softswitch.model import MatchKind
from hvchannel_softswitch.p4runtime.digest_types import Digest, read_digest
from hvchannel_softswitch.p4runtime.errors import choices, invalid


class Scope(Enum):
    """Where a table may use an action."""

    TABLE_AND_DEFAULT = 0
    TABLE_ONLY = 1
    DEFAULT_ONLY = 2


@dataclass(frozen=True, slots=True)
class KeyField:
    """One key of a table; `width` in bits. `as_ternary` marks an optional key that the JSON has as a ternary
    one, as p4c writes it: the engine gets it with a mask of all ones."""

    id: int
    name: str
    width: int
    kind: MatchKind
    as_ternary: bool = False


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter of an action; `width` in bits."""

    id: int
    name: str
    width: int


@dataclass(frozen=True, slots=True)
class Action:
    """`full_name` is the JSON's, `name` the short alias used in messages; `params` in the order of
    the JSON's runtime data once `alignment.align` has seen the JSON, else in the P4Info's."""

    id: int
    name: str
    full_name: str
    params: tuple[Param, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """`keys` in the order of the JSON's once `alignment.align` has seen it; `actions` by id, each with its
    scope."""

    id: int
    name: str
    full_name: str
    keys: tuple[KeyField, ...]
    actions: Mapping[int, tuple[Action, Scope]]
    size: int
    const_default: bool
    is_const: bool
    has_initial_entries: bool
    has_implementation: bool
    has_idle_timeout: bool
    direct_counter: str | None
    direct_meter: Meter | None

    @property
    def needs_priority(self) -> bool:
        """Whether its entries carry a priority: one key at least is ternary, range or optional."""
        return any(key.kind in (MatchKind.TERNARY, MatchKind.RANGE, MatchKind.OPTIONAL) for key in self.keys)


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
class PacketField:
    """One metadata field of a controller packet header; `width` in bits."""

    id: int
    name: str
    width: int


PacketHeader: TypeAlias = tuple[PacketField, ...]
"""The fields of packet_in or packet_out in the order of the header on the wire."""


class _Named(Protocol):
    @property
    def id(self) -> int: ...
    @property
    def name(self) -> str: ...


_T = TypeVar("_T", bound=_Named)


@dataclass(frozen=True, slots=True)
class Program:
    """All of a P4Info, by id."""

    tables: Mapping[int, Table]
    actions: Mapping[int, Action]
    counters: Mapping[int, Counter]
    meters: Mapping[int, Meter]
    digests: Mapping[int, Digest]
    packet_in: PacketHeader
    packet_out: PacketHeader
    has_registers: bool

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


def _find(where: Mapping[int, _T], number: int, kind: str) -> _T:
    found = where.get(number)
    if found is None:
        raise invalid(
            f"{kind} ID {number} is not in the P4Info {choices((x.name, x.id) for x in where.values())}"
        )
    return found


def short_name(preamble: p4i.Preamble) -> str:
    """The alias, which P4Info promises to be unique, or the full name where a tool left it out."""
    return preamble.alias or preamble.name


_KINDS = {
    p4i.MatchField.EXACT: MatchKind.EXACT,
    p4i.MatchField.LPM: MatchKind.LPM,
    p4i.MatchField.TERNARY: MatchKind.TERNARY,
    p4i.MatchField.RANGE: MatchKind.RANGE,
    p4i.MatchField.OPTIONAL: MatchKind.OPTIONAL,
}


def read_program(info: p4i.P4Info) -> Program:
    """The P4Info's own view, keys and parameters in its order. Raises INVALID_ARGUMENT on what this switch
    cannot run."""
    _refuse_unsupported(info)
    actions = {a.preamble.id: _action(a) for a in info.actions}
    meters = [_meter(m.preamble, m.spec, m.size) for m in info.meters]
    direct_meters = {m.direct_table_id: _meter(m.preamble, m.spec, 0) for m in info.direct_meters}
    direct_counters = {c.direct_table_id: short_name(c.preamble) for c in info.direct_counters}
    counters = [
        Counter(c.preamble.id, short_name(c.preamble), c.preamble.name, c.size) for c in info.counters
    ]
    headers = {h.preamble.name: _packet_header(h) for h in info.controller_packet_metadata}
    return Program(
        tables={t.preamble.id: _table(t, actions, direct_counters, direct_meters) for t in info.tables},
        actions=actions,
        counters={c.id: c for c in counters},
        meters={m.id: m for m in meters},
        digests={d.preamble.id: read_digest(d, info.type_info) for d in info.digests},
        packet_in=headers.get("packet_in", ()),
        packet_out=headers.get("packet_out", ()),
        has_registers=bool(info.registers),
    )


def _refuse_unsupported(info: p4i.P4Info) -> None:
    kinds: Iterable[tuple[str, list[p4i.Preamble]]] = (
        ("action profile", [x.preamble for x in info.action_profiles]),
        ("value set", [x.preamble for x in info.value_sets]),
    )
    for kind, preambles in kinds:
        if preambles:
            raise invalid(f"{kind} {short_name(preambles[0])!r} cannot run here: this switch has no {kind}s")


def _action(action: p4i.Action) -> Action:
    name = short_name(action.preamble)
    for param in action.params:
        if param.bitwidth <= 0:
            raise invalid(
                f"parameter {param.name!r} of action {name!r} has no bit width (translated strings are not "
                "supported)"
            )
    params = tuple(Param(p.id, p.name, p.bitwidth) for p in action.params)
    return Action(action.preamble.id, name, action.preamble.name, params)


def _table(
    table: p4i.Table, actions: Mapping[int, Action], counters: Mapping[int, str], meters: Mapping[int, Meter]
) -> Table:
    number, name = table.preamble.id, short_name(table.preamble)
    refs: dict[int, tuple[Action, Scope]] = {}
    for ref in table.action_refs:
        if ref.id not in actions:
            raise invalid(f"table {name!r} refers to action ID {ref.id}, which the P4Info does not define")
        refs[ref.id] = (actions[ref.id], Scope(ref.scope))
    return Table(
        id=number,
        name=name,
        full_name=table.preamble.name,
        keys=tuple(_key(name, field) for field in table.match_fields),
        actions=refs,
        size=table.size,
        const_default=table.const_default_action_id != 0,
        is_const=table.is_const_table,
        has_initial_entries=table.has_initial_entries or table.is_const_table,
        has_implementation=table.implementation_id != 0,
        has_idle_timeout=table.idle_timeout_behavior == p4i.Table.NOTIFY_CONTROL,
        direct_counter=counters.get(number),
        direct_meter=meters.get(number),
    )


def _key(table: str, field: p4i.MatchField) -> KeyField:
    kind = _KINDS.get(field.match_type)
    if kind is None:
        raise invalid(
            f"key {field.name!r} of table {table!r} has an unknown match kind {field.other_match_type!r} "
            f"(valid: {', '.join(k.value for k in MatchKind)})"
        )
    if field.bitwidth <= 0:
        raise invalid(
            f"key {field.name!r} of table {table!r} has no bit width (translated strings are not supported)"
        )
    return KeyField(field.id, field.name, field.bitwidth, kind)


def _meter(preamble: p4i.Preamble, spec: p4i.MeterSpec, size: int) -> Meter:
    name = short_name(preamble)
    if spec.type == p4i.MeterSpec.SINGLE_RATE_THREE_COLOR:
        raise invalid(
            f"meter {name!r} is a single rate three colour marker (valid: two rate three colour, single "
            "rate two colour)"
        )
    return Meter(preamble.id, name, preamble.name, size, spec.type == p4i.MeterSpec.SINGLE_RATE_TWO_COLOR)


def _packet_header(header: p4i.ControllerPacketMetadata) -> PacketHeader:
    fields = tuple(PacketField(m.id, m.name, m.bitwidth) for m in header.metadata)
    for field in fields:
        if field.width <= 0:
            raise invalid(
                f"field {field.name!r} of {header.preamble.name!r} has no bit width (translated strings are "
                "not supported)"
            )
    total = sum(field.width for field in fields)
    if total % 8:
        raise invalid(
            f"header {header.preamble.name!r} has {total} bits, not whole bytes: pad it to a multiple of 8"
        )
    return fields
