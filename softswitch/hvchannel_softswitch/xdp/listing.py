# SPDX-License-Identifier: Apache-2.0
"""What LLVM prints of a program, line by line, each with the P4 construct that it comes from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_LOCATION = re.compile(r"\.loc\s+\d+\s+(\d+)")
_LABEL = re.compile(r"([A-Za-z_][\w.$]*):$")
_TWO_SLOTS = re.compile(r"\bll$|^ld_pseudo")


@dataclass(frozen=True, slots=True)
class Line:
    """An instruction, or a label (without `slots`). `slot`: its number in the program, as the kernel's verifier counts;
    an instruction with a 64 bit constant has two."""

    text: str
    slot: int
    slots: int
    origin: str


def listing(assembly: str, texts: Sequence[str]) -> Iterator[Line]:
    """The lines of the program's section. `texts`: what the numbers of `.loc` lines mean, from 1 on."""
    origin, inside, slot = "", False, 0
    for line in assembly.splitlines():
        text = line.strip()
        if text.startswith(".section"):
            inside = "xdp" in text
        elif location := _LOCATION.match(text):
            place = int(location[1])
            origin = texts[place - 1] if 0 < place <= len(texts) else origin
        elif not inside or not text or text.startswith(("#", ".")):
            continue
        elif label := _LABEL.match(text):
            yield Line(label[1], slot, 0, origin)
        else:
            slots = 2 if _TWO_SLOTS.search(text) else 1
            yield Line(re.sub(r"\s+", " ", text), slot, slots, origin)
            slot += slots
