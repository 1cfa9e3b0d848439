# SPDX-License-Identifier: Apache-2.0
"""Waiting for commits: of this process at once, of other processes by `PRAGMA data_version`.

It is looked at whenever the kernel says that somebody has written to the file FEED-commits, which our programs do after
each commit (the write-ahead log itself is written before its fsync, too soon), and now and then for others' sake.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

from hvchannel_daemons.storage.database import Database, DatabaseError
from hvchannel_daemons.storage.modified import Modified
from hvchannel_daemons.storage.turns import Turns


def bell_of(path: Path) -> Path:
    """The file that rings for the database at `path`: there from its first use on."""
    return path.with_name(path.name + "-commits")


class CommitWatch:
    def __init__(self, database: Database, *, poll_seconds: float) -> None:
        self._database = database
        self._poll_seconds = poll_seconds
        self._turns = Turns()
        self._seen = 0  # the database's version at the last turn
        self._modified: Modified | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._bell_path = bell_of(database.path)
        self._bell: int | None = None
        with contextlib.suppress(OSError):  # without it others notice later
            flags = os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
            self._bell = os.open(self._bell_path, flags, 0o600)

    def note(self) -> None:
        """This process has committed."""
        with contextlib.suppress(DatabaseError):  # who waits finds it out
            self._seen = self._database.version()  # our own bell, which we hear, too, is no news
        self._turns.note()
        if self._bell is not None:
            with contextlib.suppress(OSError):  # a full disk
                os.pwrite(self._bell, b"\n", 0)

    def turns(self) -> AsyncIterator[None]:
        """Turns at commits (see Turns). Raises DatabaseError when the file can no longer be read."""
        if self._modified is None:
            # what is committed after the first turn must differ from what it starts with
            self._seen = self._database.version()
            self._modified = Modified(self._bell_path, self._look)
            self._poll()
        return self._turns()

    def close(self) -> None:
        """Whoever waits gets DatabaseError."""
        if self._timer is not None:
            self._timer.cancel()
        if self._modified is not None:
            self._modified.close()
        if self._bell is not None:
            os.close(self._bell)
            self._bell = None
        self._turns.fail(DatabaseError(f"{self._database.path}: closed"))

    def _poll(self) -> None:
        self._look()
        self._timer = asyncio.get_running_loop().call_later(self._poll_seconds, self._poll)

    def _look(self) -> None:
        try:
            now = self._database.version()
        except DatabaseError as error:
            self._turns.fail(error)
            return
        if now != self._seen:
            self._seen = now
            self._turns.note()
