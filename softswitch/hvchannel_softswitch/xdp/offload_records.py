# SPDX-License-Identifier: Apache-2.0
"""Which features of which interfaces were how before a switch changed them, kept in a file: a line of JSON per change,
of which the last of a port counts, so that the thousandth port costs no more than the first."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import structlog

log = structlog.get_logger(__name__)

Changes = dict[str, bool]
"""Features by name, and whether each is to be on."""

_SUPERSEDED = 64  # lines that the file may have beside twice those that count


@dataclass
class Record:
    """Of one port: its interface, and which features were wanted before we changed them. `peer`: those of the other
    end, which is found through this one (and is gone when this one is)."""

    interface: str
    ifindex: int
    own: Changes = field(default_factory=dict)
    peer: Changes = field(default_factory=dict)


class Records:
    """By port. `save` a port after its record was changed, made or removed."""

    def __init__(self, file: Path | None) -> None:
        """`file` is taken up when it is there; None: nothing is kept."""
        self._file = file
        self.by_port: dict[int, Record] = {}
        self._lines = 0
        if file is not None:
            self._read(file)

    def save(self, port: int) -> None:
        """Returns when it is in the file, for any later process to find. Raises OSError."""
        if self._file is None:
            return
        if not self.by_port:
            self._file.unlink(missing_ok=True)
            self._lines = 0
        elif self._lines > 2 * len(self.by_port) + _SUPERSEDED:
            fresh = self._file.with_suffix(".new")
            fresh.write_text("".join(self._line(port) for port in self.by_port))
            fresh.replace(self._file)
            self._lines = len(self.by_port)
        else:
            with self._file.open("a") as file:
                file.write(self._line(port))
            self._lines += 1

    def _line(self, port: int) -> str:
        record = self.by_port.get(port)
        return json.dumps({port: None if record is None else asdict(record)}) + "\n"

    def _read(self, file: Path) -> None:
        try:
            text = file.read_text()
            for saved in _saved(text):
                for port, record in saved.items():
                    self.by_port.pop(int(port), None)
                    if record is not None:
                        self.by_port[int(port)] = Record(**record)
            # nothing can be added behind a line without an end
            self._lines = text.count("\n") if text.endswith("\n") else sys.maxsize
        except FileNotFoundError:
            return
        except (ValueError, TypeError, AttributeError) as error:
            log.warning("offload_forgotten", file=str(file), reason=str(error))
            self.by_port.clear()


def _saved(text: str) -> Iterator[dict[str, dict[str, Any] | None]]:
    """What was written, in order. A last line without an end was being written when its process died, before it changed
    anything."""
    try:
        yield json.loads(text)  # as earlier versions wrote it: one object over many lines
    except ValueError:
        yield from map(json.loads, text.splitlines() if text.endswith("\n") else text.splitlines()[:-1])
