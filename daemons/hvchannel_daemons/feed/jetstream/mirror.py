# SPDX-License-Identifier: Apache-2.0
"""What hostd knows of the feed it serves: every document and the guests' last answers, in memory, kept up to date.

hostd serves its guests from here, whether the server is there or not. The mirror follows the documents' bucket from the
sequence it saw last, so what was put while it was cut off comes in order when the connection is back.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

import structlog

from hvchannel_daemons import limits
from hvchannel_daemons.feed.interface import Changes, Document, FeedError
from hvchannel_daemons.feed.jetstream.claim import Claim
from hvchannel_daemons.feed.jetstream.contents import Contents
from hvchannel_daemons.feed.jetstream.layout import Layout, decoded, last
from hvchannel_daemons.feed.jetstream.link import Link
from hvchannel_daemons.feed.jetstream.reader import everything, follow
from hvchannel_daemons.feed.jetstream.records import Known, Stored, entry

log = structlog.get_logger()

_CHANGES_KEPT: Final = 4096


def names(subject: str) -> tuple[str, str]:
    """VIF and key of a document's or an ack's subject."""
    vif, key = subject.split(".")[-2:]
    return decoded(vif), decoded(key)


class Mirror:
    """`start` it once; `close` ends it."""

    def __init__(self, link: Link, layout: Layout, contents: Contents, claim: Claim, origin: str) -> None:
        self._link = link
        self._layout = layout
        self._contents = contents
        self._claim = claim
        self._origin = origin
        self._documents: dict[str, dict[str, Document]] = {}  # of a VIF: in the order of positions
        self._newest: dict[str, int] = {}  # position of a VIF's newest change
        self.acks: dict[str, dict[str, Known]] = {}
        self.position = 0
        self._turn = asyncio.Event()
        self._complete = asyncio.Event()
        self._to_come = 0
        self._failure: FeedError | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._checking: asyncio.Task[None] | None = None
        link.on_back.append(self._back)

    async def start(self) -> None:
        """Returns when it knows all that there is. Raises FeedError."""
        for stored in await everything(
            self._link, self._layout.state, self._layout.acks_of(None), after=None
        ):
            vif, key = names(stored.subject)
            self.acks.setdefault(vif, {})[key] = Known.decoded(stored)
        self._tasks.append(asyncio.create_task(self._follow(), name="feed-mirror"))
        await self._complete.wait()
        self._check()

    def documents(self, vif: str) -> dict[str, Document]:
        """Of a VIF by key, oldest change first; not to be changed."""
        return self._documents.get(vif, {})

    @property
    def vifs(self) -> set[str]:
        return self._documents.keys() | self.acks.keys()

    def known(self, vif: str, key: str) -> Known:
        return self.acks.get(vif, {}).get(key, Known())

    async def changes(self, after: int) -> AsyncIterator[Changes]:
        """As Feed's. Raises FeedError when the mirror cannot be kept up to date any more."""
        while True:
            turn = self._turn
            self._check()
            if self.position > after:
                vifs = frozenset(vif for vif, newest in self._newest.items() if newest > after)
                after = self.position
                if vifs:
                    yield Changes(after, vifs)
                continue
            await turn.wait()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError, FeedError):
                await task

    async def _follow(self) -> None:
        try:
            subject = self._layout.documents_of(None)
            async for batch in follow(
                self._link, self._layout.documents, subject, after=None, begun=self._begun
            ):
                for stored in batch:
                    self._take(stored)
                self._to_come -= len(batch)
                if self._to_come <= 0:
                    self._complete.set()
                self._tell()
        except FeedError as error:
            self._fail(error)
        except Exception as error:  # a mirror that stands still unseen would be worse than no hostd
            log.exception("feed_mirror_failed")
            self._fail(FeedError(f"feed {self._link.url}: {type(error).__name__}: {error}"))

    async def _begun(self, pending: int) -> None:
        self._to_come = pending
        if not pending:
            self._complete.set()

    def _take(self, stored: Stored) -> None:
        self.position = max(self.position, stored.sequence)
        vif, key = names(stored.subject)
        try:
            limits.check_vif(vif)
            limits.check_key(key)
        except ValueError as error:
            log.warning("feed_message_ignored", subject=stored.subject, reason=str(error))
            return
        found = entry(stored, vif, key)
        if found is None:
            log.warning(
                "feed_message_ignored",
                subject=stored.subject,
                reason="not written by hvchannel",
                at=stored.sequence,
            )
            return
        documents = self._documents.setdefault(vif, {})
        old = documents.pop(key, None)
        if old is not None:
            self._contents.forget(old.content)
        documents[key] = found.document
        self._newest[vif] = stored.sequence
        if isinstance(found.document.content, int) and found.document.size:
            self._contents.keep(found.document.content, 0, stored.data)

    def _back(self) -> None:
        """The connection is back: is it still the same feed, and still ours?"""
        task = asyncio.create_task(self._verify())
        self._tasks.append(task)
        task.add_done_callback(lambda done: self._tasks.remove(done) if done in self._tasks else None)

    async def _verify(self) -> None:
        try:
            origin = await last(self._link, self._layout.documents, self._layout.origin)
            info = await self._link.call(lambda: self._link.js.stream_info(self._layout.documents))
            if origin is None or origin.data.decode() != self._origin or info.state.last_seq < self.position:
                raise FeedError(
                    f"feed {self._link.url}: is another one than before, or has lost changes "
                    "(was it made anew, or restored from a copy?): start hostd again"
                )
            await self._claim.check()
        except FeedError as error:
            self._fail(error)

    def _fail(self, error: FeedError) -> None:
        self._failure = self._failure or error
        self._complete.set()
        self._tell()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _tell(self) -> None:
        done, self._turn = self._turn, asyncio.Event()
        done.set()
