# SPDX-License-Identifier: Apache-2.0
"""What a process keeps in a file for the one after it, beside the pinned program that it belongs to."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from hvchannel_softswitch.xdp.layout import VERSION

_PREFIX = "run-"


@dataclass(frozen=True, slots=True)
class Kept:
    """`config`: what names the program to whoever loaded it. `traced`: it is the build that tells of each frame."""

    config: bytes
    drop_port: int
    cpu_port: int | None
    traced: bool = False

    def fits(self, drop_port: int, cpu_port: int | None) -> bool:
        """Whether a switch with these ports would have compiled the same program."""
        return bool(self.config) and (self.drop_port, self.cpu_port) == (drop_port, cpu_port)


def keep(directory: Path, program: int, what: Kept) -> None:
    """Writes what belongs to the program with this id, whole or not at all. Raises OSError."""
    path = directory / f"{_PREFIX}{program}.json"
    text = {
        "version": VERSION,
        "config": base64.b64encode(what.config).decode(),
        "drop_port": what.drop_port,
        "cpu_port": what.cpu_port,
        "traced": what.traced,
    }
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(text))
    draft.replace(path)


def forget_others(directory: Path, program: int) -> None:
    """Removes what belongs to other programs. Raises OSError."""
    for path in directory.glob(f"{_PREFIX}*.json"):
        if path.name != f"{_PREFIX}{program}.json":
            path.unlink(missing_ok=True)


def kept(directory: Path, program: int) -> Kept | None:
    """What belongs to the program with this id; None where nothing does, or a switch with another layout wrote it."""
    try:
        text = json.loads((directory / f"{_PREFIX}{program}.json").read_text())
        if text["version"] != VERSION:
            return None
        config = base64.b64decode(text["config"])
        return Kept(config, text["drop_port"], text["cpu_port"], text["traced"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
