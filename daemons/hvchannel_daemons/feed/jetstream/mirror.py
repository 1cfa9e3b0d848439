# SPDX-License-Identifier: Apache-2.0
"""What hostd knows of the VIFs it holds, and of no others: their documents and the guests' last answers, in memory,
kept up to date.

hostd serves its guests from here, whether the server is there or not. The server tells of each document it has stored
(`Layout.news`); that says only how far there is to read. What is read comes in order from where the VIF's reading
stands, so word that is lost is made up for by the next, by the connection that is back, or by the round that looks
after each VIF every few minutes.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from hvchannel_daemons.feed.interface import Claim, Document, FeedError
from hvchannel_daemons.feed.jetstream.background import Background
from hvchannel_daemons.feed.jetstream.claims import Claims
from hvchannel_daemons.feed.jetstream.contents import Contents
from hvchannel_daemons.feed.jetstream.layout import Layout, following, last, names, subjects
from hvchannel_daemons.feed.jetstream.link import Link, MissingError
from hvchannel_daemons.feed.jetstream.records import Known, Stored
from hvchannel_daemons.feed.jetstream.replay import NotOursError, Replay

log = structlog.get_logger()

ROUND_SECONDS: Final = 300.0
_AT_ONCE: Final = 32
_LAGS: Final = 100  # looks, about 0.1 s apart, at a leader that has yet to catch up


@dataclass(eq=False, slots=True)
class Mirrored:
    """What is known of one VIF."""

    claim: Claim
    replay: Replay = field(default_factory=Replay)
    acks: dict[str, Known] = field(default_factory=dict)
    read: int = 0  # the documents' stream is known up to this sequence
    there: int = 0  # up to this one there may be more to read
    complete: bool = False
    news: Subscription | None = None
    reading: asyncio.Task[None] | None = None

    @property
    def documents(self) -> dict[str, Document]:
        """By key, oldest change first; not to be changed."""
        return self.replay.documents

    @property
    def position(self) -> int:
        return next(reversed(self.documents.values())).position if self.documents else 0


class Mirror:
    """`start` it once; `close` ends it."""

    def __init__(
        self,
        link: Link,
        layout: Layout,
        contents: Contents,
        claims: Claims,
        background: Background,
        origin: str,
    ) -> None:
        """`background` fails when the mirror cannot be kept up to date any more."""
        self._link = link
        self._layout = layout
        self._contents = contents
        self._claims = claims
        self._background = background
        self._origin = origin
        self._vifs: dict[str, Mirrored] = {}
        self._newest = 0  # sequence that the stream has been seen to have
        self._replicas = 0  # of the stream; 0: not known yet
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def start(self) -> None:
        """Raises FeedError."""
        await self._look(again=False)
        self._background.check()
        self._link.on_back.append(lambda: self._background.spawn(self._look(again=True)))
        self._background.spawn(self._rounds())

    def of(self, vif: str) -> Mirrored | None:
        """None when the VIF is not held, or not yet known."""
        found = self._vifs.get(vif)
        return found if found is not None and found.complete else None

    @property
    def vifs(self) -> list[str]:
        return list(self._vifs)

    async def add(self, claim: Claim) -> dict[str, int]:
        """Returns when it knows all there is of the VIF: with the sequences of the acks' subjects. Raises FeedError."""
        await self.drop(claim.vif)
        one = self._vifs[claim.vif] = Mirrored(claim)
        subject = self._layout.news(claim.vif)
        one.news = await self._link.call(lambda: self._link.nc.subscribe(subject, cb=self._heard(one)))
        documents, sequence = await self._newest_of(
            self._layout.documents, self._layout.documents_of(claim.vif)
        )
        acks, _ = await self._newest_of(self._layout.state, self._layout.acks_of(claim.vif))
        for stored in documents:
            self._take(one, stored)
        await one.replay.settle(self._link, self._layout)
        one.read = sequence  # what came meanwhile is read again, in order
        one.acks.update({names(stored.subject)[1]: Known.decoded(stored) for stored in acks})
        await self._read(one)
        one.complete = True
        self._read_on(one, one.there)
        return {stored.subject: stored.sequence for stored in acks}

    async def drop(self, vif: str) -> None:
        """It is held no longer."""
        one = self._vifs.pop(vif, None)
        if one is None:
            return
        if one.reading is not None:
            one.reading.cancel()
        for document in one.documents.values():
            self._contents.forget(document.content)
        if one.news is not None:
            with contextlib.suppress(Exception):  # the connection is away: the server forgot it
                await one.news.unsubscribe()

    async def close(self) -> None:
        reading = [one.reading for one in self._vifs.values() if one.reading is not None]
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)

    async def _newest_of(self, stream: str, pattern: str) -> tuple[list[Stored], int]:
        """Each subject's last message, in order, and a sequence up to which none is missing.

        Asked of the stream's leader one by one: a consumer costs the server more than a dozen of them, and may be at a
        replica that has yet to catch up.
        """
        async with self._room:
            found, sequence = await subjects(self._link, stream, pattern)

        async def newest(subject: str) -> Stored | None:
            async with self._room:
                return await last(self._link, stream, subject)

        stored = [one for one in await asyncio.gather(*map(newest, found)) if one is not None]
        return sorted(stored, key=lambda one: one.sequence), sequence

    def _heard(self, one: Mirrored) -> Callable[[Msg], Coroutine[Any, Any, None]]:
        owner = self._layout.owner_news(one.claim.vif)

        async def heard(message: Msg) -> None:
            if message.subject == owner:
                self._claims.heard(one.claim.vif, message.data)
                return
            sequence = int((message.headers or {}).get("Nats-Sequence", 0))
            self._newest = max(self._newest, sequence)
            self._read_on(one, sequence)

        return heard

    def _read_on(self, one: Mirrored, to: int) -> None:
        one.there = max(one.there, to)
        if one.complete and one.there > one.read and (one.reading is None or one.reading.done()):
            one.reading = asyncio.create_task(self._read(one))

    async def _read(self, one: Mirrored) -> None:
        subject = self._layout.documents_of(one.claim.vif)
        try:
            sure = self._replicas == 1
            while one.read < one.there:
                to = one.there  # what comes while we ask is not what the answer knows
                async with self._room:
                    stored = await following(self._link, self._layout.documents, subject, one.read)
                if stored is not None:
                    self._take(one, stored)
                elif sure:
                    one.read = max(one.read, to)
                else:
                    sure = await self._caught_up(to)
        except FeedError as error:
            self._background.fail(error)
        except Exception as error:  # a mirror that stands still unseen would be worse than no hostd
            log.exception("feed_mirror_failed")
            self._background.fail(FeedError(f"feed {self._link.url}: {type(error).__name__}: {error}"))

    def _take(self, one: Mirrored, stored: Stored) -> None:
        one.read = max(one.read, stored.sequence)
        self._newest = max(self._newest, stored.sequence)
        try:
            newest, unwanted = one.replay.take(stored)
        except NotOursError as error:
            log.warning("feed_message_ignored", subject=stored.subject, reason=str(error), at=stored.sequence)
            return
        for document in unwanted:
            self._contents.forget(document.content)
        if stored.data:
            self._contents.keep(stored.sequence, 0, stored.data)
        if newest:
            one.claim.changed.set()

    async def _caught_up(self, to: int) -> bool:
        """Whether the stream's leader, who may be new, has what its predecessor told of. Raises FeedError."""
        for _ in range(_LAGS):
            info = await self._link.call(lambda: self._link.js.stream_info(self._layout.documents))
            if info.state.last_seq >= to:
                return True
            await self._link.pause()
        raise self._lost_changes()

    async def _look(self, *, again: bool) -> None:
        """How far the stream is; `again`, after the connection was lost: is it still the same?"""
        newest = self._newest  # what comes while we ask is not what the answer knows
        try:
            info = await self._link.call(lambda: self._link.js.stream_info(self._layout.documents))
            if again:
                origin = await last(self._link, self._layout.documents, self._layout.origin)
                if origin is None or origin.data.decode() != self._origin or info.state.last_seq < newest:
                    raise self._lost_changes()
        except FeedError as error:
            self._background.fail(error)
            return
        except MissingError:
            self._background.fail(
                FeedError(f"feed {self._link.url}: its stream {self._layout.documents} is gone")
            )
            return
        self._replicas = info.config.num_replicas or 1
        self._newest = max(self._newest, info.state.last_seq)
        for one in list(self._vifs.values()):
            self._read_on(one, self._newest)

    async def _rounds(self) -> None:
        """Finds what word was lost of, between the servers of a cluster: each VIF every ROUND_SECONDS."""
        while True:
            vifs = self.vifs
            for vif in vifs:
                await asyncio.sleep(ROUND_SECONDS / len(vifs))
                one = self._vifs.get(vif)
                try:
                    info = await self._link.call(lambda: self._link.js.stream_info(self._layout.documents))
                    if one is not None and await self._claims.check(vif):
                        self._read_on(one, info.state.last_seq)
                except FeedError as error:
                    self._background.fail(error)
                    return
            if not vifs:
                await asyncio.sleep(ROUND_SECONDS)

    def _lost_changes(self) -> FeedError:
        return FeedError(
            f"feed {self._link.url}: is another one than before, or has lost changes "
            "(was it made anew, or restored from a copy?): start hostd again"
        )
