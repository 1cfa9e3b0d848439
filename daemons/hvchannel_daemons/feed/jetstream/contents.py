# SPDX-License-Identifier: Apache-2.0
"""Contents: one of a single piece is the document's own message, a larger one is pieces of 256 KiB that are stored,
all of them, before the message that refers to them."""

import asyncio
import contextlib
from collections import OrderedDict
from typing import Final

from hvchannel_daemons import limits
from hvchannel_daemons.feed.interface import Document, FeedError
from hvchannel_daemons.feed.jetstream.layout import Layout, at, last
from hvchannel_daemons.feed.jetstream.link import Link
from hvchannel_daemons.storage.pieces import ContentGone

KEPT_BYTES: Final = 128 * limits.MIB  # in memory, of what was read last
_AT_ONCE: Final = 8


class Contents:
    """Reads and writes contents; a bounded part of them stays in memory, to serve guests while the server is away."""

    def __init__(self, link: Link, layout: Layout) -> None:
        self._link = link
        self._layout = layout
        self._kept: OrderedDict[tuple[int | str, int], bytes] = OrderedDict()
        self._bytes = 0

    async def write(self, content: bytes, handle: str) -> str:
        """Stores the pieces and returns the handle. Raises FeedError."""
        room = asyncio.Semaphore(_AT_ONCE)

        async def write_piece(n: int) -> None:
            data = content[n * limits.PIECE_BYTES : (n + 1) * limits.PIECE_BYTES]
            async with room:
                await self._link.call(lambda: self._link.publish(self._layout.piece(handle, n), data))

        await asyncio.gather(*(write_piece(n) for n in range(-(-len(content) // limits.PIECE_BYTES))))
        return handle

    async def drop(self, handle: int | str | None) -> None:
        """Removes pieces that nothing refers to any more. What fails here costs room, nothing else."""
        if isinstance(handle, str):
            with contextlib.suppress(FeedError):
                subject = self._layout.pieces_of(handle)
                await self._link.call(
                    lambda: self._link.js.purge_stream(self._layout.pieces, subject=subject)
                )

    async def piece(self, document: Document, n: int) -> bytes:
        """Raises ContentGone, FeedError."""
        handle = document.content
        if handle is None:
            raise ContentGone
        kept = self._kept.get((handle, n))
        if kept is not None:
            self._kept.move_to_end((handle, n))
            return kept
        return self.keep(handle, n, await self.stored(handle, n))

    async def stored(self, handle: int | str, n: int) -> bytes:
        """Raises ContentGone, FeedError."""
        if isinstance(handle, int):
            found = await at(self._link, self._layout.documents, handle)
        else:
            found = await last(self._link, self._layout.pieces, self._layout.piece(handle, n))
        if found is None:
            raise ContentGone
        return found.data

    def keep(self, handle: int | str, n: int, data: bytes) -> bytes:
        if (handle, n) not in self._kept:
            self._kept[handle, n] = data
            self._bytes += len(data)
            while self._bytes > KEPT_BYTES:
                _, dropped = self._kept.popitem(last=False)
                self._bytes -= len(dropped)
        return data

    def forget(self, handle: int | str | None) -> None:
        """A newer revision has replaced it."""
        if isinstance(handle, int) and (handle, 0) in self._kept:
            self._bytes -= len(self._kept.pop((handle, 0)))
