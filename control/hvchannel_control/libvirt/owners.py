# SPDX-License-Identifier: Apache-2.0
"""Which domain each VIF was attached for, in files, since every call of a hook is a process of its own.

So a domain that names another's VIF does not take it away, and what one left while no controller answered is found.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_LOCK = ".lock"
_POLL = 0.05  # seconds between two tries for the lock


@dataclass(frozen=True, slots=True)
class Owner:
    """A domain."""

    name: str
    uuid: str


class Owners:
    """In a folder of its own, a file per VIF. Methods raise OSError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextmanager
    def locked(self, within: float) -> Iterator[None]:
        """No other process is in such a block at the same time. Raises TimeoutError after `within` seconds."""
        with (self._folder / _LOCK).open("a") as file:
            deadline = time.monotonic() + within
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise TimeoutError(f"{file.name} is held by another process") from None
                    time.sleep(_POLL)
            yield

    def all(self) -> dict[str, Owner]:
        """By VIF id."""
        names = [path.name for path in self._folder.iterdir() if not path.name.startswith(".")]
        return {name: owner for name in sorted(names) if (owner := self.of(name))}

    def of(self, vif_id: str) -> Owner | None:
        try:
            return Owner(**json.loads((self._folder / vif_id).read_bytes()))
        except (FileNotFoundError, ValueError, TypeError):  # a file that a crash left empty is none
            return None

    def claim(self, vif_id: str, owner: Owner) -> None:
        if self.of(vif_id) == owner:
            return
        partial = self._folder / f".{vif_id}.{os.getpid()}"
        partial.write_text(json.dumps({"name": owner.name, "uuid": owner.uuid}) + "\n", encoding="utf-8")
        partial.replace(self._folder / vif_id)

    def forget(self, vif_id: str) -> None:
        with suppress(FileNotFoundError):
            (self._folder / vif_id).unlink()
