# SPDX-License-Identifier: Apache-2.0
"""What goes to a guest, in which order and together with what: documents one by one, the members of a group as one."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from hvchannel_daemons import limits
from hvchannel_daemons.channel import channel_pb2 as pb
from hvchannel_daemons.feed import ContentGone, Document, Feed
from hvchannel_daemons.hostd import metrics
from hvchannel_daemons.hostd.outbox import Outbox, Unit, batches

log = structlog.get_logger()

_BATCH: Final = 64

Send = Callable[[pb.HostMessage], Awaitable[None]]


class Sender:
    """Sends what the feed holds for a VIF and `outbox` says is lacking, by `send`."""

    def __init__(self, send: Send, feed: Feed, vif: str, outbox: Outbox, *, groups: bool) -> None:
        """`groups`: whether the guest knows them; else their members go one by one."""
        self._send = send
        self._feed = feed
        self._vif = vif
        self._outbox = outbox
        self._groups = groups
        self._told = False  # that groups go one by one
        self._log = log.bind(vif=vif)

    async def send_what_is_new(self) -> None:
        """All beyond the outbox's position, then all that is due again."""
        outbox = self._outbox
        more = True
        while more:
            batch = await self._feed.documents(self._vif, after=outbox.position, limit=_BATCH)
            more = len(batch) >= _BATCH
            singles = 0
            while singles < len(batch) and not self._goes_in_a_group(batch[singles]):
                singles += 1
            await self._send_each([document for document in batch[:singles] if outbox.wanted(document)])
            if singles < len(batch):
                await self._send_group_after(outbox.position)
                more = True
        for unit in outbox.take_due():
            await self._send_again(unit)

    def _goes_in_a_group(self, document: Document) -> bool:
        if document.group and not self._groups and not self._told:
            self._told = True
            self._log.warning(
                "groups_one_by_one", why="the guest speaks version 1 of the protocol, which has no groups"
            )
        return bool(document.group) and self._groups

    # one by one

    async def _send_each(self, documents: list[Document]) -> None:
        for batch in batches(documents):
            if batch[0].size > limits.PIECE_BYTES:
                await self._send_large(batch[0])
                continue
            for document, data in zip(batch, await self._feed.small(batch), strict=True):
                if data is not None:  # else the newer revision comes later in the order of changes
                    await self._outbox.room(document.size)
                    self._outbox.begun(document)
                    await self._send(pb.HostMessage(begin=_begin(document, data)))
                    self._sent(document)

    async def _send_large(self, document: Document) -> None:
        await self._outbox.room(document.size)
        try:
            await self._send_content(document, ())
        except ContentGone:
            # a newer revision is there already, further on in the order of changes: its Begin abandons this
            # one
            self._outbox.abandoned(document)

    async def _send_content(self, document: Document, unit: Unit) -> None:
        """Raises ContentGone, perhaps when half is sent."""
        first = await self._feed.piece(document, 0) if document.size else b""
        self._outbox.begun(document, unit)
        await self._send(pb.HostMessage(begin=_begin(document, first)))
        for n in range(1, -(-document.size // limits.PIECE_BYTES)):
            data = await self._feed.piece(document, n)
            await self._send(pb.HostMessage(piece=pb.DocumentPiece(offset=n * limits.PIECE_BYTES, data=data)))
        self._sent(document)

    def _sent(self, document: Document) -> None:
        self._outbox.sent(document)
        metrics.SENT.inc()
        metrics.SENT_BYTES.inc(document.size)

    # as one

    async def _send_group_after(self, position: int) -> None:
        """The group whose first member is the next document after `position`."""
        # read anew, in one look: half of it may just have been replaced
        found = await self._feed.documents(self._vif, after=position, limit=limits.GROUP_MEMBERS + 1)
        if not found or not found[0].group:
            return
        members = [document for document in found if document.group == found[0].group]
        if len(members) < found[0].group_size and _fits(found):
            # what replaced the others came later: without it the guest would see half of what belongs together
            members = found
        lacking = [document for document in members if self._outbox.lacks(document)]
        await self._send_as_one(lacking, passing=members)

    async def _send_again(self, unit: Unit) -> None:
        """The newest of what went together, and of what that belongs to."""
        if len(unit) == 1:
            delivery = await self._feed.delivery(self._vif, unit[0])
            if delivery is not None and delivery.document.position <= self._outbox.position:
                await self._send_each([delivery.document])
            return
        documents = [delivery.document for delivery in await self._feed.deliveries(self._vif)]
        keys = set(unit)
        while True:
            chosen = [document for document in documents if document.key in keys]
            groups = {document.group for document in chosen if document.group}
            more = {document.key for document in documents if document.group in groups} - keys
            if not more:
                break
            keys |= more
        if _fits(chosen):
            await self._send_as_one(chosen)
        else:
            await self._send_each(chosen)

    async def _send_as_one(self, members: Sequence[Document], *, passing: Sequence[Document] = ()) -> None:
        """And moves the outbox's position past `passing`, unless a member was replaced meanwhile: then the guest has
        forgotten what it got, and all is to be looked at again."""
        if members and not await self._sent_members(members):
            await self._send(pb.HostMessage(group_end=pb.GroupEnd(abandoned=True)))
            return
        for document in passing:
            self._outbox.wanted(document)
        if members:
            await self._send(pb.HostMessage(group_end=pb.GroupEnd()))

    async def _sent_members(self, members: Sequence[Document]) -> bool:
        size = sum(document.size for document in members)
        unit = tuple(document.key for document in members)
        await self._outbox.room(size, len(members))
        begin = pb.GroupBegin(members=len(members), size=size)
        await self._send(pb.HostMessage(group_begin=begin))
        try:
            for document in members:
                await self._send_content(document, unit)
        except ContentGone:
            for document in members:
                self._outbox.abandoned(document)
            return False
        return True


def _fits(documents: Sequence[Document]) -> bool:
    size = sum(document.size for document in documents)
    return len(documents) <= limits.GROUP_MEMBERS and size <= limits.GROUP_BYTES


def _begin(document: Document, data: bytes) -> pb.DocumentBegin:
    return pb.DocumentBegin(
        key=document.key,
        revision=document.revision,
        content_type=document.content_type,
        sha256=document.sha256,
        size=document.size,
        deleted=document.deleted,
        data=data,
    )
