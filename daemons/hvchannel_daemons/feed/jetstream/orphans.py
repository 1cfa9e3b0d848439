# SPDX-License-Identifier: Apache-2.0
"""Pieces that nothing refers to: of a put that ended between them and its message, or before it dropped what it had
replaced. The hostd that holds a VIF knows every reference to pieces of the VIF, so it removes them."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from hvchannel_daemons.feed.interface import FeedError
from hvchannel_daemons.feed.jetstream.claims import Claims
from hvchannel_daemons.feed.jetstream.contents import Contents
from hvchannel_daemons.feed.jetstream.layout import Layout, last, subjects
from hvchannel_daemons.feed.jetstream.link import Link
from hvchannel_daemons.feed.jetstream.mirror import Mirror

log = structlog.get_logger()

ROUND_SECONDS: Final = 3600.0
AGE: Final = timedelta(hours=1)  # a put takes minutes at most between its first piece and its message


class Orphans:
    """`start` it once the mirror is; `close` ends it."""

    def __init__(
        self, link: Link, layout: Layout, contents: Contents, claims: Claims, mirror: Mirror
    ) -> None:
        self._link = link
        self._layout = layout
        self._contents = contents
        self._claims = claims
        self._mirror = mirror
        self._rounds: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._rounds = asyncio.create_task(self._go_round(), name="feed-orphans")

    async def close(self) -> None:
        if self._rounds is not None:
            self._rounds.cancel()
            await asyncio.gather(self._rounds, return_exceptions=True)

    async def collect(self, vif: str) -> int:
        """Removes those of one VIF that is held; how many contents that were. Raises FeedError."""
        found, _ = await subjects(self._link, self._layout.pieces, self._layout.pieces_of_vif(vif))
        newest = {self._layout.content_of(subject): subject for subject in found}
        removed = 0
        for handle, subject in newest.items():
            if self._layout.is_of_report(handle):
                continue  # its guest sends the report again, and the pieces are written over
            stored = await last(self._link, self._layout.pieces, subject)
            if stored is None or stored.time is None or datetime.now(UTC) - stored.time < AGE:
                continue
            held = self._mirror.of(vif)
            if held is None or not await self._claims.may_write(vif):
                break
            if all(document.content != handle for document in held.documents.values()):
                await self._contents.drop(handle)
                removed += 1
        return removed

    async def _go_round(self) -> None:
        while True:
            vifs = self._mirror.vifs
            for vif in vifs:
                await asyncio.sleep(ROUND_SECONDS / len(vifs))
                try:
                    if removed := await self.collect(vif):
                        log.info("feed_orphans_removed", vif=vif, contents=removed)
                except FeedError as error:
                    log.warning("feed_orphans_kept", vif=vif, reason=str(error))
            if not vifs:
                await asyncio.sleep(ROUND_SECONDS)
