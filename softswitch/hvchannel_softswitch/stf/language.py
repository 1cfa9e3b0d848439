# SPDX-License-Identifier: Apache-2.0
"""The language: a statement per line, `#` to the end of a line is a comment.

    add TABLE [PRIORITY] KEY:VALUE ... ACTION(PARAM:VALUE, ...) [= LABEL]      remove all | LABEL
    setdefault TABLE ACTION(PARAM:VALUE, ...)
    packet PORT HEX...          expect PORT [HEX or * ...] [$]          no_packet          wait
    check_counter NAME(INDEX or LABEL) [packets|bytes ==|!=|<|<=|>|>= NUMBER]

and commands, with the words that simple_switch_CLI takes after each: those of p4c's backends/bmv2 (mirroring_*, mc_*,
counter_*, register_*, meter_*), and, for what that has no words for, act_prof_* and pvs_add. A value is decimal,
0x... or 0b..., in a key with * for digits that do not matter, or VALUE/PREFIX.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NoReturn, TypeAlias


class SyntaxFault(Exception):  # noqa: N818 (reads as the condition it names)
    """A line that is not of the language; the message says where and what was expected."""


@dataclass(frozen=True, slots=True)
class Call:
    """An action with its arguments by parameter."""

    name: str
    args: dict[str, int]


@dataclass(frozen=True, slots=True)
class Add:
    """A table entry. `keys` are (key, value as written) pairs."""

    line: int
    table: str
    priority: int | None
    keys: tuple[tuple[str, str], ...]
    action: Call
    label: str | None


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove the entry added with this label, or all entries (None)."""

    line: int
    label: str | None


@dataclass(frozen=True, slots=True)
class SetDefault:
    """A default action."""

    line: int
    table: str
    action: Call


@dataclass(frozen=True, slots=True)
class Packet:
    """A frame arrives."""

    line: int
    port: int
    frame: bytes


@dataclass(frozen=True, slots=True)
class Expect:
    """A frame leaves. `digits` in hexadecimal, `*` for any; None for any frame at all. A longer frame will do,
    unless `exact`."""

    line: int
    port: int
    digits: str | None
    exact: bool = False


@dataclass(frozen=True, slots=True)
class NoPacket:
    """Nothing has left that has not been expected so far."""

    line: int


@dataclass(frozen=True, slots=True)
class CheckCounter:
    """A counter's cell, by index or by the label of an entry, compares so."""

    line: int
    counter: str
    place: int | str
    unit: str = "packets"
    operator: str = "=="
    value: int = 0


@dataclass(frozen=True, slots=True)
class Command:
    """A command in simple_switch_CLI's words; `call` is the action of act_prof_create_member."""

    line: int
    name: str
    words: tuple[str, ...]
    call: Call | None = None


Statement: TypeAlias = Add | Remove | SetDefault | Packet | Expect | NoPacket | CheckCounter | Command

COMMANDS: dict[str, tuple[int, int | None]] = {
    "mirroring_add": (2, 2),
    "mirroring_add_mc": (2, 2),
    "mirroring_delete": (1, 1),
    "mirroring_get": (1, 1),
    "mc_mgrp_create": (1, 1),
    "mc_node_create": (2, None),
    "mc_node_update": (2, None),
    "mc_node_associate": (2, 2),
    "counter_read": (2, 2),
    "counter_write": (4, 4),
    "register_read": (2, 2),
    "register_write": (3, 3),
    "register_reset": (1, 1),
    "meter_get_rates": (2, 2),
    "meter_set_rates": (3, None),
    "meter_array_set_rates": (2, None),
    "act_prof_create_member": (2, None),
    "act_prof_create_group": (1, 1),
    "act_prof_add_member_to_group": (3, 3),
    "pvs_add": (2, None),
}
"""The commands and how many words each takes, at least and at most."""

_NAME = r'(?:"[^"]+"|[A-Za-z_$][A-Za-z_$0-9]*(?:\[[0-9]+\])?)(?:\.(?:"[^"]+"|[A-Za-z_$][A-Za-z_$0-9]*(?:\[[0-9]+\])?))*'
_VALUE = r"0[xX][0-9a-fA-F*]+|0[bB][01*]+|[0-9]+"
_ACTION = re.compile(rf"\s*({_NAME})\s*\(([^()]*)\)\s*")
_ARGUMENT = re.compile(rf"\s*({_NAME})\s*:\s*({_VALUE})\s*")
_KEY = re.compile(rf"\s*({_NAME})\s*:\s*((?:{_VALUE})(?:\s*/\s*[0-9]+)?)\s*")
_TABLE = re.compile(rf"\s*({_NAME})(?:\s+([0-9]+)(?=\s))?\s*")
_COUNTER = re.compile(
    rf"({_NAME})\s*\(\s*({_NAME}|[0-9]+)\s*\)\s*(?:(packets|bytes)\s*(==|!=|<=|>=|<|>)\s*([0-9]+))?",
    re.IGNORECASE,
)
_DIGITS = re.compile(r"[0-9]{1,18}")  # str.isdigit knows more of them than int()
_HEX = re.compile(r"[0-9a-fA-F\s]*")
_EXPECTED = re.compile(r"([0-9a-fA-F*\s]*)(\$?)\s*")


def parse(text: str) -> list[Statement]:
    """The statements of a file. Raises SyntaxFault."""
    statements: list[Statement] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].strip().split(None, 1)
        if words:
            statement = _statement(number, words[0].lower(), words[1] if len(words) > 1 else "")
            if statement is not None:
                statements.append(statement)
    return statements


def number_of(text: str) -> int:
    """A value without `*`."""
    return int(text, 0) if text[:2].lower() in ("0x", "0b") else int(text)


def _fault(line: int, what: str) -> NoReturn:
    raise SyntaxFault(f"line {line}: {what}")


def _statement(line: int, keyword: str, rest: str) -> Statement | None:
    match keyword:
        case "add":
            return _add(line, rest)
        case "setdefault":
            table = _TABLE.match(rest) or _fault(line, "setdefault: expected a table")
            call, end = _call(line, rest, table.end())
            _nothing(line, rest[end:])
            return SetDefault(line, _unquoted(table[1]), call)
        case "remove":
            if not rest:
                _fault(line, "remove: expected 'all' or the label of an entry")
            return Remove(line, None if rest.lower() == "all" else rest)
        case "packet":
            port, data = _port(line, keyword, rest)
            digits = "".join(data.split())
            if not _HEX.fullmatch(data) or len(digits) % 2:
                _fault(line, f"packet: expected whole bytes in hexadecimal, found {data!r}")
            return Packet(line, port, bytes.fromhex(digits))
        case "expect":
            return _expect(line, rest)
        case "no_packet":
            _nothing(line, rest)
            return NoPacket(line)
        case "wait":  # the switch is done with a packet before the next statement
            return None
        case "check_counter":
            return _check_counter(line, rest)
        case _:
            return _command(line, keyword, rest)


def _add(line: int, rest: str) -> Add:
    start = _TABLE.match(rest) or _fault(line, "add: expected a table")
    position, keys = start.end(), []
    while found := _KEY.match(rest, position):
        keys.append((_unquoted(found[1]), re.sub(r"\s", "", found[2])))
        position = found.end()
    call, position = _call(line, rest, position)
    label = None
    if rest[position:].startswith("="):
        label, position = rest[position + 1 :].strip(), len(rest)
    _nothing(line, rest[position:])
    return Add(line, _unquoted(start[1]), int(start[2]) if start[2] else None, tuple(keys), call, label)


def _call(line: int, text: str, position: int) -> tuple[Call, int]:
    found = _ACTION.match(text, position)
    if found is None:
        _fault(line, f"expected an action like name(param:value), found {text[position:]!r}")
    args = {}
    for piece in filter(str.strip, found[2].split(",")):
        argument = _ARGUMENT.fullmatch(piece)
        if argument is None or "*" in argument[2]:
            _fault(line, f"expected an argument like param:value, found {piece.strip()!r}")
        args[_unquoted(argument[1])] = number_of(argument[2])
    return Call(_unquoted(found[1]), args), found.end()


def _expect(line: int, rest: str) -> Expect:
    port, data = _port(line, "expect", rest)
    found = _EXPECTED.fullmatch(data)
    if found is None:
        _fault(line, f"expect: expected hexadecimal digits and *, then maybe $, found {data!r}")
    digits = "".join(found[1].split()).lower()
    if not digits and not found[2]:
        return Expect(line, port, None)
    return Expect(line, port, digits, exact=bool(found[2]))


def _check_counter(line: int, rest: str) -> CheckCounter:
    found = _COUNTER.fullmatch(rest.strip())
    if found is None:
        _fault(line, f"check_counter: expected name(index) packets == number or the like, found {rest!r}")
    place = int(found[2]) if _DIGITS.fullmatch(found[2]) else found[2].lstrip("$")
    if found[3] is None:
        return CheckCounter(line, _unquoted(found[1]), place)
    return CheckCounter(line, _unquoted(found[1]), place, found[3].lower(), found[4], int(found[5]))


def _command(line: int, name: str, rest: str) -> Command:
    if name not in COMMANDS:
        known = "add, setdefault, remove, packet, expect, no_packet, wait, check_counter"
        _fault(line, f"no statement {name!r} (valid: {known}, {', '.join(COMMANDS)})")
    if name == "act_prof_create_member":
        start = _TABLE.match(rest) or _fault(line, f"{name}: expected an action profile")
        call, end = _call(line, rest, start.end())
        _nothing(line, rest[end:])
        return Command(line, name, (_unquoted(start[1]),), call)
    words = tuple(_unquoted(word) for word in rest.split())
    least, most = COMMANDS[name]
    if len(words) < least or (most is not None and len(words) > most):
        wanted = str(least) if most is not None else f"at least {least}"
        _fault(line, f"{name}: expected {wanted} words after it, found {len(words)}")
    return Command(line, name, words)


def _port(line: int, keyword: str, rest: str) -> tuple[int, str]:
    words = rest.split(None, 1)
    if not words or not _DIGITS.fullmatch(words[0]):
        _fault(line, f"{keyword}: expected a port number, found {rest!r}")
    return int(words[0]), words[1] if len(words) > 1 else ""


def _nothing(line: int, rest: str) -> None:
    if rest.strip():
        _fault(line, f"expected the end of the line, found {rest.strip()!r}")


def _unquoted(name: str) -> str:
    return name.replace('"', "")
