# SPDX-License-Identifier: Apache-2.0
"""Writing acks and sessions behind: they are what hostd saw last, so while the server is away only the newest of
each subject waits, and nobody waits for it. What a killed hostd did not write the guest's next inventory says again."""

import asyncio
import contextlib
from typing import Final

from hvchannel_daemons.feed.interface import FeedError
from hvchannel_daemons.feed.jetstream.link import Link

Message = tuple[bytes, dict[str, str] | None]

_AT_ONCE: Final = 64
_CLOSE_SECONDS: Final = 2.0


class Behind:
    """`put` returns when the messages are stored, or when the server is away and they wait for it."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._waiting: dict[str, Message] = {}
        self._callers: set[asyncio.Future[None]] = set()
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._writer: asyncio.Task[None] | None = None
        link.on_lost.append(self._release)

    async def put(self, messages: dict[str, Message]) -> None:
        """By subject. Raises FeedError when the server will not store one."""
        if not messages:
            return
        for subject, message in messages.items():
            self._waiting.pop(subject, None)
            self._waiting[subject] = message
        self._idle.clear()
        self._work.set()
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())
        if not self._link.up.is_set():
            return
        caller: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._callers.add(caller)
        await caller

    async def close(self) -> None:
        """Writes what waits if the server is there."""
        if self._writer is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS if self._link.up.is_set() else 0):
                await self._idle.wait()
        self._writer.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._writer
        self._release()

    async def _write(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            batch, self._waiting = self._waiting, {}
            callers, failure = set(self._callers), None
            room = asyncio.Semaphore(_AT_ONCE)
            done = await asyncio.gather(
                *(self._store(room, subject, message) for subject, message in batch.items()),
                return_exceptions=True,
            )
            failure = next((error for error in done if isinstance(error, FeedError)), None)
            self._release(callers, failure)
            if not self._waiting:
                self._idle.set()

    async def _store(self, room: asyncio.Semaphore, subject: str, message: Message) -> None:
        async with room:
            while subject not in self._waiting:  # else a newer one takes its place
                try:
                    await self._link.publish(subject, *message)
                    return
                except Exception as error:
                    self._link.passing(error)
                self._release()
                await self._link.pause()

    def _release(
        self, callers: set[asyncio.Future[None]] | None = None, failure: FeedError | None = None
    ) -> None:
        """These need not wait any longer; None: nobody."""
        for caller in list(self._callers) if callers is None else callers:
            self._callers.discard(caller)
            if caller.done():
                continue
            if failure is None:
                caller.set_result(None)
            else:
                caller.set_exception(failure)
