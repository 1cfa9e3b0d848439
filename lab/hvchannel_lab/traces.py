# SPDX-License-Identifier: Apache-2.0
"""Reads a vSwitch's trace: what became of each packet it processed, one JSON object per packet and line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Lookup:
    """One table applied to the packet: the key it had, and what came of it. Names without their control's."""

    table: str
    key: dict[str, int]
    hit: bool
    action: str
    args: dict[str, int]


@dataclass(frozen=True, slots=True)
class Record:
    """One packet's way through a vSwitch. `outputs`: what left, as (port, frame); empty when it was dropped.

    `time_ns` is CLOCK_MONOTONIC. `steps` is the trace as written, for what `lookups` leaves out.
    """

    number: int
    time_ns: int
    port: int
    frame: bytes
    lookups: tuple[Lookup, ...]
    outputs: tuple[tuple[int, bytes], ...]
    steps: tuple[dict[str, Any], ...]

    @property
    def dropped(self) -> bool:
        """Whether nothing left."""
        return not self.outputs

    def lookup(self, table: str) -> Lookup | None:
        """The first time a table was applied; None when it was not."""
        return next((lookup for lookup in self.lookups if lookup.table == table), None)


def read(path: Path, frame: bytes | None = None) -> Iterator[Record]:
    """The trace, oldest packet first; only of packets that came in as `frame`, if given. Raises OSError."""
    wanted = f'"frame": "{frame.hex()}"' if frame is not None else ""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            # A line without its end is being written just now.
            if wanted in line and line.endswith("\n"):
                record = parse(line)
                if frame is None or record.frame == frame:
                    yield record


def parse(line: str) -> Record:
    """One line of a trace."""
    content: dict[str, Any] = json.loads(line)
    return Record(
        number=content["packet"],
        time_ns=content["time_ns"],
        port=content["port"],
        frame=bytes.fromhex(content["frame"]),
        lookups=tuple(_lookup(step) for step in content["steps"] if "table" in step),
        outputs=tuple((out["port"], bytes.fromhex(out["frame"])) for out in content["out"]),
        steps=tuple(content["steps"]),
    )


def _lookup(step: dict[str, Any]) -> Lookup:
    return Lookup(_last(step["table"]), step["key"], step["hit"], _last(step["action"]), step["args"])


def _last(name: str) -> str:
    return name.rpartition(".")[2]
