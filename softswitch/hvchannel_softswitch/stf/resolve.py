# SPDX-License-Identifier: Apache-2.0
"""From the names and values that a test writes to those of its program, as p4c's bmv2stf.py does: any name may be
cut short to an unambiguous end of it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from hvchannel_softswitch.engine import (
    Action,
    ActionCall,
    EntryKey,
    Exact,
    GroupRef,
    Lpm,
    Match,
    MemberRef,
    Range,
    Ternary,
)
from hvchannel_softswitch.model import Action as ActionModel
from hvchannel_softswitch.model import MatchKind, Program, Table, TableKey
from hvchannel_softswitch.stf.language import Add, Call, number_of

DEFAULT_PRIORITY = 1
"""That of an entry added without one to a table that has priorities."""


class Unresolved(Exception):  # noqa: N818 (reads as the condition it names)
    """A name or value that the program has no place for; the message gives the valid ones."""


def pick(name: str, known: Iterable[str], what: str) -> str:
    """The one known name that equals `name`, or else ends in it. Raises Unresolved."""
    names = list(dict.fromkeys(known))
    if name in names:
        return name
    dotted = [candidate for candidate in names if candidate.endswith("." + name)]
    found = dotted or [candidate for candidate in names if candidate.endswith(name)]
    if len(found) != 1:
        problem = (
            f"is ambiguous: {', '.join(found)}"
            if found
            else f"does not exist (there are: {', '.join(names)})"
        )
        raise Unresolved(f"{what} {name!r} {problem}")
    return found[0]


def table_of(program: Program, name: str) -> Table:
    """The table that a test means."""
    return program.tables[pick(name, program.tables, "table")]


def key_of(table: Table, statement: Add) -> EntryKey:
    """The key of an entry; a key that the test leaves out matches anything, or 0 where it must be exact."""
    given: dict[str, str] = {}
    for name, value in statement.keys:
        given[_key_name(table, name)] = value
    matches = tuple(_match(key, given.get(key.name)) for key in table.keys)
    if not table.has_priority:
        return EntryKey(matches)
    return EntryKey(matches, DEFAULT_PRIORITY if statement.priority is None else statement.priority)


def action_of(table: Table, call: Call) -> Action:
    """What an entry holds; in a table with an action profile `member(handle:N)` or `group(handle:N)`."""
    if table.profile is not None and call.name in ("member", "group") and "handle" in call.args:
        handle = call.args["handle"]
        return MemberRef(handle) if call.name == "member" else GroupRef(handle)
    return call_of(table.actions, call, f"action of table {table.name!r}")


def call_of(actions: Iterable[ActionModel], call: Call, what: str) -> ActionCall:
    """A call with its arguments in order."""
    by_name = {action.name: action for action in actions}
    action = by_name[pick(call.name, by_name, what)]
    params = [param.name for param in action.params]
    if set(params) != set(call.args):
        raise Unresolved(f"action {action.name!r} takes ({', '.join(params)}), not ({', '.join(call.args)})")
    return ActionCall(action.name, tuple(call.args[param] for param in params))


def _key_name(table: Table, name: str) -> str:
    names = [key.name for key in table.keys]
    name = re.sub(r"\$([0-9]+)", r"[\1]", name)
    valid = name[: -len("valid")] + "$valid$" if name.endswith(".valid") else name
    for candidate in (name, name + "$", name + ".$valid$", valid):
        if candidate in names:
            return candidate
    ends = [known for known in names if known.endswith(("." + name, "." + name + "$", "." + valid))]
    if name == "valid":
        ends += [known for known in names if known.endswith("$valid$")]
    if not ends:
        raise Unresolved(f"table {table.name!r} has no key {name!r} (its keys: {', '.join(names)})")
    return ends[-1]


def _match(key: TableKey, text: str | None) -> Match:
    full = (1 << key.width) - 1
    match key.kind:
        case MatchKind.EXACT:
            return Exact(0 if text is None else _number(key, text))
        case MatchKind.LPM:
            return Lpm(0, 0) if text is None else _lpm(key, text)
        case MatchKind.RANGE:
            point = None if text is None else _number(key, text)
            return Range(0, full) if point is None else Range(point, point)
        case MatchKind.TERNARY | MatchKind.OPTIONAL:
            value, mask = (0, 0) if text is None else _masked(key, text)
            return Ternary(value & mask & full, mask & full)


def _number(key: TableKey, text: str) -> int:
    if "*" in text or "/" in text:
        raise Unresolved(f"key {key.name!r} is {key.kind.value}; it takes a plain number, not {text!r}")
    return number_of(text)


def _masked(key: TableKey, text: str) -> tuple[int, int]:
    """A value with a mask of the digits that are not `*`: 0x2* is 0x20 &&& 0xf0."""
    prefix, digits = text[:2].lower(), text[2:]
    if "/" in text or prefix not in ("0x", "0b"):
        raise Unresolved(
            f"key {key.name!r} is {key.kind.value}; it takes 0x or 0b and digits or *, not {text!r}"
        )
    base, ones = (16, "f") if prefix == "0x" else (2, "1")
    return (
        int(digits.replace("*", "0"), base),
        int("".join("0" if digit == "*" else ones for digit in digits), base),
    )


def _lpm(key: TableKey, text: str) -> Lpm:
    value, slash, length = text.partition("/")
    if slash:
        bits = int(length)
    elif value[:2].lower() in ("0x", "0b"):
        bits = (len(value) - 2 - value.count("*")) * (4 if value[1] in "xX" else 1)
    else:
        bits = key.width
    if bits > key.width:
        raise Unresolved(f"key {key.name!r} has {key.width} bits, fewer than the prefix of {text!r}")
    number = number_of(value.replace("*", "0"))
    return Lpm(number & (1 << key.width) - (1 << (key.width - bits)), bits)
