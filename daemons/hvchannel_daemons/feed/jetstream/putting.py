# SPDX-License-Identifier: Apache-2.0
"""Putting documents, alone and as a group: each a message after the one it replaces, by compare-and-set."""

import asyncio
import contextlib
import hashlib
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from hvchannel_daemons import limits
from hvchannel_daemons.feed.groups import Member, check_group
from hvchannel_daemons.feed.interface import Document
from hvchannel_daemons.feed.jetstream import records, replay
from hvchannel_daemons.feed.jetstream.behind import Message
from hvchannel_daemons.feed.jetstream.contents import Contents
from hvchannel_daemons.feed.jetstream.layout import Layout, last
from hvchannel_daemons.feed.jetstream.link import Link, WrongSequenceError
from hvchannel_daemons.feed.jetstream.records import Entry, Known, Stored
from hvchannel_daemons.feed.jetstream.room import Room


@dataclass(frozen=True, slots=True)
class _Replaced:
    revision: int
    old: int | str | None  # the content that it replaced


class Putting:
    """Every method may raise FeedError."""

    def __init__(self, link: Link, layout: Layout, contents: Contents, room: Room) -> None:
        self._link = link
        self._layout = layout
        self._contents = contents
        self._room = room
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}

    async def put(self, vif: str, document: Member) -> int:
        """As Feed.put."""
        limits.check_vif(vif)
        limits.check_key(document.key)
        limits.check_content_type(document.content_type)
        size = len(document.content or b"")
        limits.check_size(size)
        await self._room.check(vif, {document.key: size})
        replaced = await self._put(vif, document, records.NO_GROUP)
        await self._contents.drop(replaced.old)
        return replaced.revision

    async def delete(self, vif: str, key: str) -> int | None:
        """As Feed.delete."""
        limits.check_vif(vif)
        limits.check_key(key)

        async def message(put: str, revision: int, old: Entry | None) -> Message | None:
            if not await self._is_live(vif, key):
                return None
            return b"", records.tombstone_headers(put, revision, time.time_ns())

        replaced = await self._replace(vif, key, message)
        if replaced is None:
            return None
        await self._contents.drop(replaced.old)
        return replaced.revision

    async def put_group(self, vif: str, members: Sequence[Member]) -> dict[str, int]:
        """As Feed.put_group."""
        check_group(vif, members)
        live = await asyncio.gather(*(self._is_live(vif, member.key) for member in members))
        put = [m for m, is_live in zip(members, live, strict=True) if m.content is not None or is_live]
        await self._room.check(vif, {m.key: None if m.content is None else len(m.content) for m in put})
        group = (uuid.uuid4().hex, len(put)) if len(put) > 1 else records.NO_GROUP
        replaced = {member.key: await self._put(vif, member, group) for member in put}
        if group[0]:
            # until here nobody sees anything of it, and if we die now nobody ever will
            await self.mark(vif, group[0], list(replaced))
        for one in replaced.values():
            await self._contents.drop(one.old)
        return {key: one.revision for key, one in replaced.items()}

    async def mark(self, vif: str, group: str, keys: list[str]) -> None:
        """All members of the group are stored."""
        subject = self._layout.group(vif, group)
        with contextlib.suppress(WrongSequenceError):  # it is there already: only the answer got lost
            await self._link.call(
                lambda: self._link.publish(subject, b"", records.headers({"keys": keys}), last=0)
            )

    async def newest(self, vif: str, key: str) -> tuple[Document | None, Known]:
        """The newest document of a key, and the guest's last answer."""
        stored, known = await self._last(vif, key)
        return await replay.newest(self._link, self._layout, vif, key, stored), known

    async def _put(self, vif: str, member: Member, group: tuple[str, int]) -> _Replaced:
        content = member.content
        large = content is not None and len(content) > limits.PIECE_BYTES
        digest = await asyncio.to_thread(lambda: hashlib.sha256(content or b"").digest())
        pieces: str | None = None
        if content is not None and large:
            pieces = await self._contents.write(content, self._layout.new_content(vif))

        async def message(put: str, revision: int, old: Entry | None) -> Message:
            now = time.time_ns()
            if content is None:
                return b"", records.tombstone_headers(put, revision, now, group)
            headers = records.document_headers(
                put, revision, member.content_type, digest, len(content), now, pieces, group
            )
            return b"" if large else content, headers

        replaced = await self._replace(vif, member.key, message)
        assert replaced is not None
        return replaced

    async def _replace(self, vif: str, key: str, message: records.MakeMessage) -> _Replaced | None:
        """Compare-and-set until nobody came between. `message` gives what to store after `old`, None: nothing."""
        put = uuid.uuid4().hex
        subject = self._layout.document(vif, key)
        async with self._locks.setdefault((vif, key), asyncio.Lock()):
            while True:
                stored, ack = await self._last(vif, key)
                sequence, old = (stored.sequence, records.entry(stored, vif, key)) if stored else (0, None)
                if old is not None and old.put == put:
                    return _Replaced(old.document.revision, None)  # stored already: only the answer got lost
                # also beyond what the guest holds: a feed restored from an old copy must not hand out
                # revisions a second time
                revision = 1 + max(old.document.revision if old else 0, ack.acknowledged)
                made = await message(put, revision, old)
                if made is None:
                    return None
                data, headers = made

                async def publish(
                    data: bytes = data, headers: dict[str, str] | None = headers, last: int = sequence
                ) -> int:
                    return await self._link.publish(subject, data, headers, last=last)

                with contextlib.suppress(WrongSequenceError):
                    await self._link.call(publish)
                    return _Replaced(revision, old.document.content if old else None)

    async def _last(self, vif: str, key: str) -> tuple[Stored | None, Known]:
        """The last message of a key, and the guest's last answer."""
        stored, ack = await asyncio.gather(
            last(self._link, self._layout.documents, self._layout.document(vif, key)),
            last(self._link, self._layout.state, self._layout.ack(vif, key)),
        )
        return stored, Known.decoded(ack)

    async def _is_live(self, vif: str, key: str) -> bool:
        stored = await last(self._link, self._layout.documents, self._layout.document(vif, key))
        document = await replay.newest(self._link, self._layout, vif, key, stored)
        return document is not None and not document.deleted
