# SPDX-License-Identifier: Apache-2.0
"""Writing acks and sessions behind: they are what hostd saw last, so while the server is away only the newest of
each subject waits, and nobody waits for it. What a killed hostd did not write the guest's next inventory says again.

An ack is written over the one that was there when the VIF was claimed, or by us since: what a hostd that was cut off
has left to say of a VIF never replaces what the VIF's next owner wrote."""

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from hvchannel_daemons.feed.interface import FeedError
from hvchannel_daemons.feed.jetstream.claims import Claims
from hvchannel_daemons.feed.jetstream.layout import Layout, last
from hvchannel_daemons.feed.jetstream.link import Link, WrongSequenceError

Message = tuple[bytes, dict[str, str] | None]

_AT_ONCE: Final = 64
_CLOSE_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class _Waiting:
    message: Message
    vif: str | None  # written only while this VIF is held; None: in any case


class Behind:
    """`put` returns when the messages are stored, or when the server is away and they wait for it."""

    def __init__(self, link: Link, layout: Layout, claims: Claims) -> None:
        self._link = link
        self._layout = layout
        self._claims = claims
        self._waiting: dict[str, _Waiting] = {}
        self._sequences: dict[str, dict[str, int]] = {}  # of a VIF that is held: its subjects' last ones
        self._callers: set[asyncio.Future[None]] = set()
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._writer: asyncio.Task[None] | None = None
        link.on_lost.append(self._release)

    def expect(self, vif: str, sequences: Mapping[str, int]) -> None:
        """The VIF is held; these are the last sequences of its subjects in the state bucket."""
        self._sequences[vif] = dict(sequences)

    def forget(self, vif: str) -> None:
        """It is held no longer."""
        self._sequences.pop(vif, None)

    async def put(self, messages: dict[str, Message], vif: str | None = None) -> None:
        """By subject; of a VIF that is held: only while it is. Raises FeedError when the server will not store one."""
        if not messages:
            return
        for subject, message in messages.items():
            self._waiting.pop(subject, None)
            self._waiting[subject] = _Waiting(message, vif)
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
                *(self._store(room, subject, waiting) for subject, waiting in batch.items()),
                return_exceptions=True,
            )
            failure = next((error for error in done if isinstance(error, FeedError)), None)
            self._release(callers, failure)
            if not self._waiting:
                self._idle.set()

    async def _store(self, room: asyncio.Semaphore, subject: str, waiting: _Waiting) -> None:
        vif = waiting.vif
        async with room:
            while subject not in self._waiting:  # else a newer one takes its place
                if vif is not None and not await self._claims.may_write(vif):
                    return
                try:
                    await self._link.attempt(lambda: self._publish(subject, waiting))
                    return
                except Exception as error:
                    try:
                        self._link.passing(error)
                    except WrongSequenceError:
                        if vif is None or not await self._caught_up(vif, subject):
                            return
                        continue
                self._release()
                await self._link.pause()

    async def _publish(self, subject: str, waiting: _Waiting) -> None:
        ours = self._sequences.get(waiting.vif) if waiting.vif is not None else None
        before = None if ours is None else ours.get(subject, 0)
        sequence = await self._link.publish(subject, *waiting.message, last=before)
        if ours is not None:
            ours[subject] = sequence

    async def _caught_up(self, vif: str, subject: str) -> bool:
        """Another wrote the subject, or we did and the answer got lost: whether it is still ours to write."""
        if not await self._claims.check(vif):
            return False
        now = await last(self._link, self._layout.state, subject)
        if vif in self._sequences:
            self._sequences[vif][subject] = now.sequence if now else 0
        return True

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
