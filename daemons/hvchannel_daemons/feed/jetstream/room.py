# SPDX-License-Identifier: Apache-2.0
"""Quotas: where they are kept, and whether a put stays within one.

What a VIF uses is known from its messages' headers; whoever puts more than once reads only what is new since."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Final

from hvchannel_daemons import limits
from hvchannel_daemons.feed.interface import QuotaError
from hvchannel_daemons.feed.jetstream.layout import Layout, last, subjects
from hvchannel_daemons.feed.jetstream.link import Link
from hvchannel_daemons.feed.jetstream.replay import Replay, caught_up, replayed
from hvchannel_daemons.feed.quotas import Quota, Usage, refusal

_KNOWN: Final = 64  # VIFs whose documents are remembered


class Room:
    def __init__(self, link: Link, layout: Layout) -> None:
        self._link = link
        self._layout = layout
        self._known: dict[str, Replay] = {}
        self._looking = asyncio.Lock()

    async def quota(self, vif: str) -> Quota:
        """Raises FeedError."""
        stored = await last(self._link, self._layout.state, self._layout.quota(vif))
        if stored is None or not stored.data:
            return Quota()
        said, names = json.loads(stored.data), {field.name for field in fields(Quota)}
        return Quota(**{name: value for name, value in said.items() if name in names})

    async def set_quota(self, vif: str, quota: Quota | None) -> None:
        """Raises FeedError."""
        data = json.dumps(asdict(quota)).encode() if quota is not None else b""
        await self._link.call(lambda: self._link.publish(self._layout.quota(vif), data))

    async def usage(self, vif: str) -> Usage:
        """Raises FeedError."""
        replay = await replayed(self._link, self._layout, vif)
        return _usage(replay)

    async def check(self, vif: str, sizes: Mapping[str, int | None]) -> None:
        """Whether documents may get these sizes, by key (None: deleted). Raises QuotaError, FeedError."""
        quota, (found, _) = await asyncio.gather(
            self.quota(vif),
            subjects(self._link, self._layout.documents, self._layout.documents_of(vif)),
        )
        count = len(found) + len(sizes)  # tombstones included, which are cheap to count
        if (
            count <= min(quota.documents, limits.LIVE_DOCUMENTS)
            and count * limits.DOCUMENT_BYTES <= quota.bytes
        ):
            return
        async with self._looking:
            known = self._known.pop(vif, None)
            if known is None:
                replay = await replayed(self._link, self._layout, vif)
            else:
                replay = await caught_up(self._link, self._layout, vif, known)
            self._known[vif] = replay
            if len(self._known) > _KNOWN:
                del self._known[next(iter(self._known))]
        used = after = _usage(replay)
        for key, size in sizes.items():
            old = replay.documents.get(key)
            after = after.changed(None if old is None or old.deleted else old.size, size)
        why = refusal(vif, quota, used, after)
        if why:
            raise QuotaError(why)


def _usage(replay: Replay) -> Usage:
    live = [document for document in replay.documents.values() if not document.deleted]
    return Usage(sum(document.size for document in live), len(live))
