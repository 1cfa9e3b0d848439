# SPDX-License-Identifier: Apache-2.0
"""Documents that change all the time, and a ledger of what was promised of them."""

from __future__ import annotations

import asyncio
import hashlib
import random
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hvchannel_daemons.feed import Feed, FeedError, Member, open_feed
from hvchannel_lab import lab_feed
from hvchannel_lab.topology import Topology

T = TypeVar("T")

KEYS = ("a/one", "a/two", "a/three", "b/one", "b/two", "b/three", "c", "d", "e", "f")
LARGE = ("large/one", "large/two")
GROUP = ("g/cert", "g/key", "g/chain")
_EVERY = 0.12  # seconds
_AGAIN = 0.2  # seconds
_PUT_WITHIN = 20.0  # seconds: longer than the feed itself takes to say that it is away

Digest = bytes
GONE: Digest = b""


@dataclass
class Line:
    """What is known of a key: the last change that was confirmed, and those since whose outcome nobody told."""

    revision: int = 0
    digest: Digest = GONE
    perhaps: list[Digest] = field(default_factory=list)


@dataclass
class Ledger:
    lines: dict[tuple[str, str], Line] = field(default_factory=dict)
    confirmed: int = 0
    refused: int = 0

    def line(self, vif: str, key: str) -> Line:
        return self.lines.setdefault((vif, key), Line())

    def confirm(self, vif: str, key: str, revision: int, digest: Digest) -> None:
        self.lines[vif, key] = Line(revision, digest)
        self.confirmed += 1

    def doubt(self, vif: str, key: str, digest: Digest) -> None:
        self.line(vif, key).perhaps.append(digest)
        self.refused += 1


class Writer:
    """A control plane: one change after the other, until stopped. What the feed says of each goes into the ledger."""

    def __init__(self, topology: Topology, luck: random.Random) -> None:
        self.ledger = Ledger()
        self._topology = topology
        self._luck = luck
        self._may_write = threading.Event()
        self._idle = threading.Event()
        self._over = threading.Event()
        self._thread: Future[None] | None = None
        self.last_error = ""

    def start(self) -> None:
        self._over.clear()
        self._may_write.set()
        self._thread = lab_feed.there(self._topology, self._run)

    def stop(self) -> None:
        self._over.set()
        self._may_write.set()
        if self._thread is not None:
            self._thread.result(60)
            self._thread = None

    def pause(self) -> None:
        """Returns when no change is under way."""
        self._may_write.clear()
        if self._thread is not None and not self._idle.wait(_PUT_WITHIN + 30):
            raise TimeoutError("a put of the harness does not come to its end")

    def resume(self) -> None:
        self._idle.clear()
        self._may_write.set()

    async def _run(self) -> None:
        feed: Feed | None = None
        try:
            while not self._over.is_set():
                if not self._may_write.is_set():
                    self._idle.set()
                    await asyncio.sleep(0.01)
                    continue
                self._idle.clear()
                try:
                    if feed is None:
                        feed = await asyncio.wait_for(
                            open_feed(self._topology.feed_at, create=False), _PUT_WITHIN
                        )
                    await self._change(feed)
                    await asyncio.sleep(_EVERY)
                except (FeedError, TimeoutError) as error:
                    self.last_error = str(error) or type(error).__name__
                    if feed is not None:
                        await feed.close()
                        feed = None
                    await asyncio.sleep(_AGAIN)
        finally:
            self._idle.set()
            if feed is not None:
                await feed.close()

    async def _change(self, feed: Feed) -> None:
        luck, vif = self._luck, self._luck.choice(self._topology.vms).vif
        kind = luck.choices(("small", "large", "delete", "group"), (70, 4, 14, 12))[0]
        if kind == "group":
            await self._group(feed, vif)
            return
        key = luck.choice(LARGE if kind == "large" else KEYS)
        if kind == "delete":
            if self.ledger.line(vif, key).digest == GONE and not self.ledger.line(vif, key).perhaps:
                return
            revision = await self._noted(vif, {key: GONE}, lambda: feed.delete(vif, key))
            if revision is not None:
                self.ledger.confirm(vif, key, revision, GONE)
            return
        size = luck.randrange(300_000, 1_500_000) if kind == "large" else luck.randrange(8000)
        content = luck.randbytes(size)
        digest = hashlib.sha256(content).digest()
        revision = await self._noted(
            vif, {key: digest}, lambda: feed.put(vif, key, content, "application/octet-stream")
        )
        self.ledger.confirm(vif, key, revision, digest)

    async def _group(self, feed: Feed, vif: str) -> None:
        members = [
            Member(key, self._luck.randbytes(self._luck.randrange(2000)), "application/octet-stream")
            for key in GROUP
        ]
        digests = {member.key: hashlib.sha256(member.content or b"").digest() for member in members}
        revisions = await self._noted(vif, digests, lambda: feed.put_group(vif, members))
        for key, revision in revisions.items():
            self.ledger.confirm(vif, key, revision, digests[key])

    async def _noted(
        self, vif: str, digests: dict[str, Digest], change: Callable[[], Coroutine[Any, Any, T]]
    ) -> T:
        """A change that fails may yet have been made."""
        try:
            return await asyncio.wait_for(change(), _PUT_WITHIN)
        except (FeedError, TimeoutError):
            for key, digest in digests.items():
                self.ledger.doubt(vif, key, digest)
            raise


def keys() -> Sequence[str]:
    return (*KEYS, *LARGE, *GROUP)
