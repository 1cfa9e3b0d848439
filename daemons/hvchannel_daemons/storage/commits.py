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


def bell_of(path: Path) -> Path:
    """The file that rings for the database at `path`: there from its first use on."""
    return path.with_name(path.name + "-commits")


class CommitWatch:
    def __init__(self, database: Database, *, poll_seconds: float | None = None) -> None:
        """`poll_seconds` None: nobody else writes the file."""
        self._database = database
        self._poll_seconds = poll_seconds
        self._next = asyncio.Event()
        self._polling = asyncio.Event()
        self._poller: asyncio.Task[None] | None = None
        self._bell_path = bell_of(database.path)
        self._bell: int | None = None
        if poll_seconds is not None:
            with contextlib.suppress(OSError):  # without it others notice later
                flags = os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
                self._bell = os.open(self._bell_path, flags, 0o600)

    def note(self) -> None:
        """This process has committed."""
        self._turn()
        if self._bell is not None:
            with contextlib.suppress(OSError):  # a full disk
                os.pwrite(self._bell, b"\n", 0)

    def _turn(self) -> None:
        done, self._next = self._next, asyncio.Event()
        done.set()

    async def turns(self) -> AsyncIterator[None]:
        """Yields now and again after every commit, for ever. Commits during the caller's turn are not
        missed; many may come as one turn. Raises DatabaseError when the file can no longer be read."""
        if self._poll_seconds is not None:
            if self._poller is None:
                self._poller = asyncio.create_task(self._poll(self._poll_seconds))
            await (
                self._polling.wait()
            )  # what is committed after the first turn must differ from what it starts with
        while True:
            event = self._next
            yield
            await event.wait()
            if self._poller is not None and self._poller.done():
                self._poller.result()
                raise DatabaseError(f"{self._database.path}: closed")

    async def close(self) -> None:
        if self._poller is not None:
            self._poller.cancel()
            with contextlib.suppress(asyncio.CancelledError, DatabaseError):
                await self._poller
        if self._bell is not None:
            os.close(self._bell)
            self._bell = None

    async def _poll(self, seconds: float) -> None:
        bell = Modified(self._bell_path)
        try:
            seen = self._database.version()
            self._polling.set()
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        await bell.event.wait()
                bell.event.clear()
                now = self._database.version()
                if now != seen:
                    seen = now
                    self._turn()
        finally:
            bell.close()
            self._polling.set()
            # once this task is done: whoever waits shall see its error
            asyncio.get_running_loop().call_soon(self._turn)
