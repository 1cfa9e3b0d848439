# SPDX-License-Identifier: Apache-2.0
"""Reading JSON with a place in hand: every error names where in the program it is."""

from __future__ import annotations

from typing import Any, NoReturn

from hvchannel_softswitch.model.errors import MalformedProgram, UnsupportedProgram


class Place:
    """A value in the JSON and a description of where it is, for people."""

    __slots__ = ("value", "where")

    def __init__(self, value: Any, where: str) -> None:
        self.value = value
        self.where = where

    def malformed(self, what: str) -> NoReturn:
        """Raises MalformedProgram."""
        raise MalformedProgram(f"{self.where}: {what}")

    def unsupported(self, what: str, supported: str) -> NoReturn:
        """Raises UnsupportedProgram; `supported` says what would do."""
        raise UnsupportedProgram(f"{self.where}: {what}; supported: {supported}")

    def maybe(self, key: str) -> Place | None:
        """The attribute, or None if it is missing or null."""
        if not isinstance(self.value, dict):
            self.malformed(f"expected an object, found {_show(self.value)}")
        found = self.value.get(key)
        return None if found is None else Place(found, f"{self.where}, {key}")

    def at(self, key: str) -> Place:
        """The attribute; it must be there."""
        found = self.maybe(key)
        if found is None:
            self.malformed(f"attribute {key!r} is missing")
        return found

    def string(self) -> str:
        """The value, a string."""
        if not isinstance(self.value, str):
            self.malformed(f"expected a string, found {_show(self.value)}")
        return self.value

    def integer(self) -> int:
        """The value, an integer."""
        if not isinstance(self.value, int) or isinstance(self.value, bool):
            self.malformed(f"expected an integer, found {_show(self.value)}")
        return self.value

    def natural(self) -> int:
        """The value, an integer that is not negative."""
        number = self.integer()
        if number < 0:
            self.malformed(f"expected a number that is not negative, found {number}")
        return number

    def up_to(self, most: int, what: str) -> int:
        """The value, from 0 to `most`; `what` is counted. Raises UnsupportedProgram beyond."""
        number = self.natural()
        if number > most:
            self.unsupported(f"{number} {what}", f"up to {most}")
        return number

    def boolean(self) -> bool:
        """The value, true or false."""
        if not isinstance(self.value, bool):
            self.malformed(f"expected true or false, found {_show(self.value)}")
        return self.value

    def hexadecimal(self) -> int:
        """The value, a number written as a string: hexadecimal, maybe with a minus sign."""
        text = self.string()
        try:
            return int(text, 16)
        except ValueError:
            self.malformed(f"expected a hexadecimal number, found {text!r}")

    def items(self, what: str = "item") -> list[Place]:
        """The value's items, a list; `what` names one of them in errors."""
        if not isinstance(self.value, list):
            self.malformed(f"expected a list, found {_show(self.value)}")
        return [Place(item, f"{self.where} {what} {i}") for i, item in enumerate(self.value)]

    def tuple_of(self, count: int) -> list[Place]:
        """The value's items, a list of exactly that length."""
        items = self.items()
        if len(items) != count:
            self.malformed(f"expected {count} items, found {len(items)}")
        return items

    def objects(self, key: str, kind: str) -> list[Place]:
        """The objects of a list attribute, empty if it is missing; each is placed by its kind and name."""
        found = self.maybe(key)
        if found is None:
            return []
        return [item.named(kind) for item in found.items()]

    def named(self, kind: str) -> Place:
        """The same object, placed by its name: "action 'ingress.drop' (id 4)"."""
        name = self.at("name").string()
        ident = self.maybe("id")
        return Place(self.value, f"{kind} {name!r}" + (f" (id {ident.value})" if ident else ""))


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def choices(names: object) -> str:
    """A few of the valid names, for the end of an error."""
    known = sorted(map(str, names))  # type: ignore[call-overload]
    if not known:
        return "none are defined"
    shown = ", ".join(repr(name) for name in known[:12])
    return shown + (f" and {len(known) - 12} more" if len(known) > 12 else "")
