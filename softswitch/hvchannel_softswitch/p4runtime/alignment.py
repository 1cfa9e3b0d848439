# SPDX-License-Identifier: Apache-2.0
"""P4Info and the program's JSON must speak of the same program. Checked once, when a pipeline is set, so that
no later request can name what the engine does not have."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hvchannel_softswitch import model
from hvchannel_softswitch.model import MatchKind
from hvchannel_softswitch.p4runtime.errors import invalid, listing
from hvchannel_softswitch.p4runtime.p4info import Action, KeyField, Param, Program, Table


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
    return replace(info, actions=actions, tables=tables)


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
    for param in params:
        _same_width(
            f"parameter {param.name!r} of action {action.full_name!r}", by_name[param.name].width, param.width
        )
    return replace(action, params=tuple(Param(by_name[p.name].id, p.name, p.width) for p in params))


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


def _key(table: Table, key: KeyField, code: model.TableKey) -> KeyField:
    what = f"key {key.name!r} of table {table.full_name!r}"
    _same_width(what, key.width, code.width)
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
