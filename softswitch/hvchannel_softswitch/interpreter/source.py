# SPDX-License-Identifier: Apache-2.0
"""Python source in the making."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


class Source:
    """Lines, indented by the blocks they are in."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._depth = 0

    def line(self, text: str) -> None:
        """One line at the current depth."""
        self._lines.append("    " * self._depth + text)

    @contextmanager
    def block(self, header: str) -> Iterator[None]:
        """A compound statement; `pass` if nothing is written in it."""
        self.line(header)
        self._depth += 1
        before = len(self._lines)
        yield
        if len(self._lines) == before:
            self.line("pass")
        self._depth -= 1

    def text(self) -> str:
        """Everything so far."""
        return "\n".join(self._lines) + "\n"


@dataclass(frozen=True, slots=True)
class Code:
    """A Python expression, safe to put in parentheses' stead: a name, a literal, a call or parenthesised.

    `bits`: its value is known to be from 0 to `2**bits - 1`; None: it may be negative or of any size.
    """

    text: str
    bits: int | None = None


def masked(code: Code, width: int) -> str:
    """The code's value truncated to `width` bits."""
    if code.bits is not None and code.bits <= width:
        return code.text
    return f"({code.text} & {mask(width)})"


def mask(width: int) -> str:
    """A literal of `width` ones."""
    return hex((1 << width) - 1)
