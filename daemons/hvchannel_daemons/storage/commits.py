# SPDX-License-Identifier: Apache-2.0
"""Waiting for commits: of this process at once, of other processes by polling `PRAGMA data_version`.

The poll is slow while nothing happens and quick for a moment after the kernel has said that the write-ahead
log is being written: the commit becomes visible shortly after that, when the writer's fsync is done.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from hvchannel_daemons.storage.database import Database, DatabaseError
from hvchannel_daemons.storage.modified import Modified

_QUICK_SECONDS: Final = 0.0002
_QUICK_POLLS: Final = 125


class CommitWatch:
    def __init__(self, database: Database, *, poll_seconds: float | None = None) -> None:
        """`poll_seconds` None: nobody else writes the file."""
        self._database = database
        self._poll_seconds = poll_seconds
        self._next = asyncio.Event()
        self._polling = asyncio.Event()
        self._poller: asyncio.Task[None] | None = None

    def note(self) -> None:
        """This process has committed."""
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

    async def _poll(self, seconds: float) -> None:
        path = self._database.path
        log = Modified(path.with_name(path.name + "-wal"))
        quick = 0  # polls left of the quick ones
        try:
            seen = self._database.version()
            self._polling.set()
            while True:
                if quick > 0:
                    quick -= 1
                    await asyncio.sleep(_QUICK_SECONDS)
                else:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(seconds):
                            await log.event.wait()
                if log.event.is_set():
                    log.event.clear()
                    quick = _QUICK_POLLS
                now = self._database.version()
                if now != seen:
                    seen = now
                    quick = 0
                    self.note()
        finally:
            log.close()
            self._polling.set()
            # once this task is done: whoever waits shall see its error
            asyncio.get_running_loop().call_soon(self.note)
