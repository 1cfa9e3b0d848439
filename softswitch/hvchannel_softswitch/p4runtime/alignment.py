# SPDX-License-Identifier: Apache-2.0
"""P4Info and the program's JSON must speak of the same program. Checked once, when a pipeline is set, so that
no later request can name what the engine does not have."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

from hvchannel_softswitch import model
from hvchannel_softswitch.model import MatchKind
from hvchannel_softswitch.p4runtime.errors import invalid, listing
from hvchannel_softswitch.p4runtime.p4info import Action, KeyField, PacketHeader, Program, Table, ValueField

_Field = TypeVar("_Field", bound=ValueField)


def align(info: Program, program: model.Program) -> Program:
    """The P4Info's view with keys and parameters in the order of the JSON's.

    Raises INVALID_ARGUMENT naming what one side has and the other lacks, or what they see differently.
    """
    code_actions = {action.name: action for action in program.actions}
    actions = {number: _action(action, code_actions) for number, action in info.actions.items()}
    tables = {number: _table(table, actions, program) for number, table in info.tables.items()}
    _no_hidden_tables(tables.values(), program)
    for counter in info.counters.values():
        _require("counter", counter.full_name, program.counters)
        _same_size("counter", counter.full_name, counter.size, program.counters[counter.full_name].size)
    for meter in info.meters.values():
        _require("meter", meter.full_name, program.meters)
        _same_size("meter", meter.full_name, meter.size, program.meters[meter.full_name].size)
    for digest in info.digests.values():
        _require("digest", digest.full_name, program.learn_lists)
        _digest_widths(digest.full_name, [field.width for field in digest.fields], program)
    for register in info.registers.values():
        _require("register", register.full_name, program.registers)
        cells = program.registers[register.full_name]
        _same_size("register", register.full_name, register.size, cells.size)
        _same_width(f"register {register.full_name!r}", register.cell.width, cells.width)
    for value_set in info.value_sets.values():
        _require("value set", value_set.full_name, program.value_sets)
        _value_set_widths(value_set.full_name, [key.width for key in value_set.keys], program)
    for profile in info.profiles.values():
        _require("action profile", profile.full_name, program.profiles)
        code = program.profiles[profile.full_name]
        _same_size("action profile", profile.full_name, profile.size, code.size)
        _same_selector(profile.full_name, profile.has_selector, code.selector)
    return replace(
        info,
        actions=actions,
        tables=tables,
        packet_in=_packet_header("packet_in", info.packet_in, program),
        packet_out=_packet_header("packet_out", info.packet_out, program),
    )


def with_initial_entries(info: Program, program: model.Program) -> model.Program:
    """The JSON's program with the entries of preinitialised tables as first content only (section "Preinitialized
    tables"), and the tables as large as P4Info says: p4c writes their number of entries as the size in the JSON,
    and const and other entries alike."""
    sizes = {t.full_name: t.size for t in info.tables.values() if t.has_initial_entries and not t.is_const}
    if not sizes:
        return program
    program = program.with_mutable_entries(sizes)
    tables = {
        name: replace(table, max_size=max(table.max_size, sizes.get(name, 0)))
        for name, table in program.tables.items()
    }
    return replace(program, tables=tables)


def _require(kind: str, name: str, there: Iterable[str]) -> None:
    names = list(there)
    if name not in names:
        raise invalid(
            f"{kind} {name!r} is in the P4Info but not in the device config (there: "
            f"{listing([repr(n) for n in names])})"
        )


def _same_size(kind: str, name: str, info_size: int, size: int) -> None:
    if info_size != size:
        raise invalid(f"{kind} {name!r} has {info_size} cells in the P4Info but {size} in the device config")


def _digest_widths(name: str, widths: list[int], program: model.Program) -> None:
    there = list(program.learn_lists[name].widths)
    if widths != there:
        raise invalid(
            f"digest {name!r} has members of {widths} bits in the P4Info but {there} in the device config"
        )


def _value_set_widths(name: str, widths: list[int], program: model.Program) -> None:
    there = list(program.value_sets[name].widths)
    if widths != there:
        raise invalid(
            f"value set {name!r} has keys of {widths} bits in the P4Info but {there} in the device config"
        )


def _same_selector(name: str, info_has: bool, has: bool) -> None:
    if info_has != has:
        words = {True: "a selector", False: "no selector"}
        raise invalid(
            f"action profile {name!r} has {words[info_has]} in the P4Info but {words[has]} in the device config"
        )


def _packet_header(name: str, header: PacketHeader, program: model.Program) -> PacketHeader:
    if any(field.translation for field in header):
        header = tuple(
            replace(field, width=width)
            for field, width in zip(header, _header_widths(name, header, program), strict=True)
        )
    total = sum(field.width for field in header)
    if total % 8:
        raise invalid(f"header {name!r} has {total} bits, not whole bytes: pad it to a multiple of 8")
    return header


def _header_widths(name: str, header: PacketHeader, program: model.Program) -> list[int]:
    """The data plane's widths of a header with translated fields: P4Info has only the controller's. P4Info knows
    the header by its annotation, which need not be its name in the program, so its fields tell."""
    names = [field.name for field in header]
    found = [h for h in program.headers.values() if [field.name for field in h.type.fields] == names]
    if not found:
        raise invalid(f"header {name!r} with fields {names} is in the P4Info but not in the device config")
    best = next((h for h in found if h.name == name), found[0])
    return [field.width for field in best.type.fields]


def _action(action: Action, there: dict[str, model.Action]) -> Action:
    _require("action", action.full_name, there)
    by_name = {param.name: param for param in action.params}
    params = there[action.full_name].params
    names = [param.name for param in params]
    if sorted(by_name) != sorted(names):
        raise invalid(
            f"action {action.full_name!r} has parameters {sorted(by_name)} in the P4Info "
            f"but {sorted(names)} in the device config"
        )
    what = f"of action {action.full_name!r}"
    return replace(
        action,
        params=tuple(_sized(f"parameter {p.name!r} {what}", by_name[p.name], p.width) for p in params),
    )


def _sized(what: str, field: _Field, width: int) -> _Field:
    """The field with the data plane's width, which a translated one need not have in the P4Info."""
    if field.translation is None:
        _same_width(what, field.width, width)
    return replace(field, width=width)


def _same_width(what: str, info_width: int, width: int) -> None:
    if info_width != width:
        raise invalid(f"{what} has {info_width} bits in the P4Info but {width} in the device config")


def _table(table: Table, actions: dict[int, Action], program: model.Program) -> Table:
    _require("table", table.full_name, program.tables)
    code = program.tables[table.full_name]
    by_name = {key.name: key for key in table.keys}
    names = [key.name for key in code.keys]
    if sorted(by_name) != sorted(names):
        raise invalid(
            f"table {table.full_name!r} has keys {sorted(by_name)} in the P4Info but {sorted(names)} in the "
            "device config"
        )
    keys = tuple(_key(table, by_name[key.name], key) for key in code.keys)
    code_actions = {action.name for action in code.actions}
    code_profile = table.profile.full_name if table.profile is not None else None
    if code_profile != code.profile:
        raise invalid(
            f"table {table.full_name!r} takes its actions from {_profile_title(code_profile)} in the P4Info but from "
            f"{_profile_title(code.profile)} in the device config"
        )
    if table.has_idle_timeout and not code.support_timeout:
        raise invalid(
            f"table {table.full_name!r} has idle timeouts in the P4Info but not in the device config"
        )
    refs = {}
    for number, (_, scope) in table.actions.items():
        action = actions[number]
        if action.full_name not in code_actions:
            raise invalid(
                f"action {action.full_name!r} of table {table.full_name!r} is in the P4Info but not in the "
                f"device config (there: {listing([repr(name) for name in sorted(code_actions)])})"
            )
        refs[number] = (action, scope)
    return replace(table, keys=keys, actions=refs)


def _profile_title(name: str | None) -> str:
    return "no action profile" if name is None else f"action profile {name!r}"


def _key(table: Table, key: KeyField, code: model.TableKey) -> KeyField:
    what = f"key {key.name!r} of table {table.full_name!r}"
    key = _sized(what, key, code.width)
    if key.kind is MatchKind.OPTIONAL and code.kind is MatchKind.TERNARY:
        return replace(key, as_ternary=True)
    if key.kind is not code.kind:
        raise invalid(f"{what} is {key.kind.value} in the P4Info but {code.kind.value} in the device config")
    return key


def _no_hidden_tables(tables: Iterable[Table], program: model.Program) -> None:
    """p4c makes tables of its own for plain statements and `switch`: without keys or with const entries. Any
    other table that the P4Info leaves out could never be filled."""
    known = {table.full_name for table in tables}
    for name, table in program.tables.items():
        if name not in known and table.keys and table.const_entries is None:
            raise invalid(
                f"table {name!r} is in the device config but not in the P4Info "
                f"(there: {listing([repr(known_name) for known_name in sorted(known)])})"
            )
