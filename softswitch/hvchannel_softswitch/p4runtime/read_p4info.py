# SPDX-License-Identifier: Apache-2.0
"""A P4Info message read into `p4info`'s types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from finsy.proto import p4i, p4t

from hvchannel_softswitch.model import MatchKind
from hvchannel_softswitch.p4runtime.data_types import read_field
from hvchannel_softswitch.p4runtime.digest_types import read_digest
from hvchannel_softswitch.p4runtime.errors import choices, invalid
from hvchannel_softswitch.p4runtime.p4info import (
    Action,
    Counter,
    KeyField,
    Meter,
    PacketField,
    PacketHeader,
    Param,
    Program,
    Register,
    Scope,
    Table,
    ValueSet,
)
from hvchannel_softswitch.p4runtime.profile_types import Profile, read_profile
from hvchannel_softswitch.p4runtime.translations import Translation, Translations


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

_STRING_KINDS = (MatchKind.EXACT, MatchKind.OPTIONAL)
"""The kinds of match that a translated string can have: bits and order mean nothing in a name."""


@dataclass(frozen=True, slots=True)
class _Types:
    """The user-defined types, and how those that are translated are."""

    info: p4t.P4TypeInfo
    translations: Translations

    def translation(self, type_name: str, what: str, bitwidth: int) -> Translation | None:
        """Raises INVALID_ARGUMENT for a value that has neither a width nor a translation."""
        spec = self.info.new_types.get(type_name) if type_name else None
        if spec is None or not spec.HasField("translated_type"):
            if bitwidth <= 0:
                raise invalid(f"{what} has neither a bit width nor a translated type")
            return None
        translated = spec.translated_type
        if translated.HasField("sdn_string"):
            return self.translations.of(translated.uri, None)
        return self.translations.of(translated.uri, translated.sdn_bitwidth)


def read_program(info: p4i.P4Info, translations: Translations) -> Program:
    """The P4Info's own view, keys and parameters in its order. Raises INVALID_ARGUMENT on what this switch
    cannot run."""
    types = _Types(info.type_info, translations)
    actions = {a.preamble.id: _action(a, types) for a in info.actions}
    meters = [_meter(m.preamble, m.spec, m.size) for m in info.meters]
    counters = [
        Counter(c.preamble.id, short_name(c.preamble), c.preamble.name, c.size) for c in info.counters
    ]
    headers = {h.preamble.name: _packet_header(h, types) for h in info.controller_packet_metadata}
    profiles = {p.preamble.id: read_profile(p) for p in info.action_profiles}
    resources = _Resources(
        types,
        actions,
        profiles,
        counters={c.direct_table_id: short_name(c.preamble) for c in info.direct_counters},
        meters={m.direct_table_id: _meter(m.preamble, m.spec, 0) for m in info.direct_meters},
    )
    return Program(
        tables={t.preamble.id: _table(t, resources) for t in info.tables},
        actions=actions,
        counters={c.id: c for c in counters},
        meters={m.id: m for m in meters},
        digests={d.preamble.id: read_digest(d, info.type_info) for d in info.digests},
        packet_in=headers.get("packet_in", ()),
        packet_out=headers.get("packet_out", ()),
        profiles=profiles,
        value_sets={v.preamble.id: _value_set(v, types) for v in info.value_sets},
        registers={r.preamble.id: _register(r, info.type_info) for r in info.registers},
    )


@dataclass(frozen=True, slots=True)
class _Resources:
    """What tables refer to, by id; the direct ones by their table's."""

    types: _Types
    actions: Mapping[int, Action]
    profiles: Mapping[int, Profile]
    counters: Mapping[int, str]
    meters: Mapping[int, Meter]


def _action(action: p4i.Action, types: _Types) -> Action:
    name = short_name(action.preamble)
    params = []
    for p in action.params:
        translation = types.translation(
            p.type_name.name, f"parameter {p.name!r} of action {name!r}", p.bitwidth
        )
        params.append(Param(p.id, p.name, p.bitwidth, translation=translation))
    return Action(action.preamble.id, name, action.preamble.name, tuple(params))


def _table(table: p4i.Table, there: _Resources) -> Table:
    number, name = table.preamble.id, short_name(table.preamble)
    refs: dict[int, tuple[Action, Scope]] = {}
    for ref in table.action_refs:
        if ref.id not in there.actions:
            raise invalid(f"table {name!r} refers to action ID {ref.id}, which the P4Info does not define")
        refs[ref.id] = (there.actions[ref.id], Scope(ref.scope))
    if table.implementation_id and table.implementation_id not in there.profiles:
        raise invalid(
            f"table {name!r} refers to action profile ID {table.implementation_id}, which the P4Info does not define "
            f"{choices((p.name, p.id) for p in there.profiles.values())}"
        )
    return Table(
        id=number,
        name=name,
        full_name=table.preamble.name,
        keys=tuple(_key(f"table {name!r}", field, there.types) for field in table.match_fields),
        actions=refs,
        size=table.size,
        const_default=table.const_default_action_id != 0,
        is_const=table.is_const_table,
        has_initial_entries=table.has_initial_entries or table.is_const_table,
        profile=there.profiles.get(table.implementation_id),
        has_idle_timeout=table.idle_timeout_behavior == p4i.Table.NOTIFY_CONTROL,
        direct_counter=there.counters.get(number),
        direct_meter=there.meters.get(number),
    )


def _key(owner: str, field: p4i.MatchField, types: _Types) -> KeyField:
    # p4c names the key of a value set of bare bits not at all.
    name = field.name or f"field {field.id}"
    kind = _KINDS.get(field.match_type)
    if kind is None:
        raise invalid(
            f"key {name!r} of {owner} has an unknown match kind {field.other_match_type!r} "
            f"(valid: {', '.join(k.value for k in MatchKind)})"
        )
    translation = types.translation(field.type_name.name, f"key {name!r} of {owner}", field.bitwidth)
    if translation is not None and translation.is_string and kind not in _STRING_KINDS:
        raise invalid(
            f"key {name!r} of {owner} is a translated string, which cannot be matched by {kind.value} "
            f"(valid: {', '.join(k.value for k in _STRING_KINDS)})"
        )
    return KeyField(field.id, name, field.bitwidth, kind, translation=translation)


def _value_set(value_set: p4i.ValueSet, types: _Types) -> ValueSet:
    name = short_name(value_set.preamble)
    keys = tuple(_key(f"value set {name!r}", field, types) for field in value_set.match)
    return ValueSet(value_set.preamble.id, name, value_set.preamble.name, keys, value_set.size)


def _register(register: p4i.Register, types: p4t.P4TypeInfo) -> Register:
    name = short_name(register.preamble)
    cell = read_field(f"register {name!r}", name, register.type_spec, types)
    return Register(register.preamble.id, name, register.preamble.name, register.size, cell)


def _meter(preamble: p4i.Preamble, spec: p4i.MeterSpec, size: int) -> Meter:
    name = short_name(preamble)
    if spec.type == p4i.MeterSpec.SINGLE_RATE_THREE_COLOR:
        raise invalid(
            f"meter {name!r} is a single rate three colour marker (valid: two rate three colour, single "
            "rate two colour)"
        )
    return Meter(preamble.id, name, preamble.name, size, spec.type == p4i.MeterSpec.SINGLE_RATE_TWO_COLOR)


def _packet_header(header: p4i.ControllerPacketMetadata, types: _Types) -> PacketHeader:
    fields = []
    for m in header.metadata:
        what = f"field {m.name!r} of {header.preamble.name!r}"
        translation = types.translation(m.type_name.name, what, m.bitwidth)
        fields.append(PacketField(m.id, m.name, m.bitwidth, translation=translation))
    return tuple(fields)
