# SPDX-License-Identifier: Apache-2.0
"""Being told of changes, for those who do not serve the feed: the command line, a lab, a control plane."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from hvchannel_daemons.feed.interface import FeedError
from hvchannel_daemons.feed.jetstream.layout import Layout, group_of, names
from hvchannel_daemons.feed.jetstream.link import Link
from hvchannel_daemons.feed.jetstream.reader import follow
from hvchannel_daemons.feed.jetstream.records import Stored


class Watching:
    """One reader of all acks serves all who wait for one."""

    def __init__(self, link: Link, layout: Layout) -> None:
        self._link = link
        self._layout = layout
        self._waiting: dict[tuple[str, str], set[asyncio.Event]] = {}
        self._begun = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        self._failure: FeedError | None = None

    @contextlib.asynccontextmanager
    async def acks(self, vif: str, key: str) -> AsyncIterator[AsyncIterator[None]]:
        """Turns: one now, and one after each answer of the guest. Raises FeedError."""
        if self._reading is None:
            state = self._layout.state
            info = await self._link.call(lambda: self._link.js.stream_info(state))
            if self._reading is None:
                self._reading = asyncio.create_task(self._read_acks(info.state.last_seq))
        await self._begun.wait()
        changed = asyncio.Event()
        waiting = self._waiting.setdefault((vif, key), set())
        waiting.add(changed)

        async def turns() -> AsyncIterator[None]:
            while True:
                changed.clear()
                yield
                await changed.wait()
                if self._failure is not None:
                    raise self._failure

        try:
            yield turns()
        finally:
            waiting.discard(changed)

    async def keys(self, vif: str, after: int) -> AsyncIterator[str]:
        """A key whenever its document (after the position) or its ack may have changed. Raises FeedError."""
        found: asyncio.Queue[str | FeedError] = asyncio.Queue()

        async def read(stream: str, subject: str, start: int | None) -> None:
            try:
                async for batch in follow(self._link, stream, subject, after=start):
                    for key in dict.fromkeys(key for stored in batch for key in _keys(stored)):
                        found.put_nowait(key)
            except FeedError as error:
                found.put_nowait(error)

        state = self._layout.state
        info = await self._link.call(lambda: self._link.js.stream_info(state))
        documents = (self._layout.documents, self._layout.documents_of(vif), after or None)
        answers = (state, self._layout.acks_of(vif), info.state.last_seq)
        readers = [asyncio.create_task(read(*what)) for what in (documents, answers)]
        try:
            while True:
                key = await found.get()
                if isinstance(key, FeedError):
                    raise key
                yield key
        finally:
            for reader in readers:
                reader.cancel()

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading

    async def _read_acks(self, after: int) -> None:
        async def begun(pending: int) -> None:
            self._begun.set()

        try:
            subject = self._layout.acks_of(None)
            async for batch in follow(self._link, self._layout.state, subject, after=after, begun=begun):
                for stored in batch:
                    for event in self._waiting.get(names(stored.subject), ()):
                        event.set()
        except FeedError as error:
            self._failure = error
            self._begun.set()
            for events in self._waiting.values():
                for event in events:
                    event.set()


def _keys(stored: Stored) -> list[str]:
    """Of documents that may be others now."""
    if not group_of(stored.subject):
        return [names(stored.subject)[1]]
    about = stored.about or {}
    keys = about.get("keys")
    return [str(key) for key in keys] if isinstance(keys, list) else []
