# SPDX-License-Identifier: Apache-2.0
"""guestd's server for local programs (guest_local.proto). Slow callers are held back by flow control;
nothing is queued for them: each has a position in the store's order of changes and reads on from there."""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Final, NoReturn

import grpc
import structlog

from hvchannel_daemons import limits
from hvchannel_daemons.guestd.channel_service import ChannelService
from hvchannel_daemons.guestd.files import Files
from hvchannel_daemons.guestd.hooks import Hooks
from hvchannel_daemons.guestd.report_queue import ReportQueueFull
from hvchannel_daemons.guestd.store import GuestStore
from hvchannel_daemons.guestd.store_tables import Stored
from hvchannel_daemons.local import guest_local_pb2 as pb
from hvchannel_daemons.local import guest_local_pb2_grpc
from hvchannel_daemons.storage.database import DatabaseError
from hvchannel_daemons.storage.pieces import ContentGone

log = structlog.get_logger()

Context = grpc.aio.ServicerContext[object, object]

_BATCH: Final = 128
_ALL: Final = sys.maxsize


class LocalService(guest_local_pb2_grpc.GuestServicer):
    def __init__(self, store: GuestStore, files: Files, hooks: Hooks | None, channel: ChannelService) -> None:
        self._store = store
        self._files = files
        self._hooks = hooks
        self._channel = channel
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Ends the watches, which would go on for ever."""
        self._stopping.set()

    async def Get(  # noqa: N802
        self, request: pb.GetRequest, context: Context
    ) -> AsyncIterator[pb.GetReply]:
        while True:
            document = await self._store.document(request.key)
            if document is None:
                await context.abort(grpc.StatusCode.NOT_FOUND, f"no document {request.key!r}")
            yield pb.GetReply(document=self._document(document))
            try:
                for n in range(_pieces(document)):
                    yield pb.GetReply(data=await self._store.piece(document, n))
            except ContentGone:
                continue  # replaced meanwhile: start over with the newer one
            return

    async def List(  # noqa: N802
        self, request: pb.ListRequest, context: Context
    ) -> AsyncIterator[pb.Document]:
        after = ""
        while documents := await self._store.documents(request.prefix, after_key=after, limit=_BATCH):
            for document in documents:
                yield self._document(document)
            after = documents[-1].key

    async def Watch(  # noqa: N802
        self, request: pb.WatchRequest, context: Context
    ) -> AsyncIterator[pb.WatchEvent]:
        inline = min(request.inline_bytes, limits.INLINE_BYTES)
        told: set[str] = set()  # keys the caller believes to exist: the deletions it needs to hear of
        position = 0
        synced = False
        broken = (
            False  # a moment's document was replaced while it was being told: the next turn belongs to it
        )
        async for _ in self._turns_until_stop():
            # all at once: half of a group must not be told as if it were the whole
            changes = await self._store.changes(
                request.prefix, after=position, until=self._files.position, limit=_ALL
            )
            together = synced and (broken or any(change.grouped for change in changes))
            position = changes[-1].position if changes else position
            changes = [change for change in changes if not change.deleted or change.key in told or broken]
            broken = False
            for n, change in enumerate(changes, 1):
                if change.deleted:
                    told.discard(change.key)
                    deleted = pb.WatchEvent.Deleted(key=change.key, revision=change.revision)
                    event = pb.WatchEvent(deleted=deleted)
                else:
                    put = await self._put(change, inline)
                    if put is None:
                        broken = together or not synced
                        continue
                    told.add(change.key)
                    event = put
                event.more = together and (broken or n < len(changes))
                yield event
            if not synced and not broken:
                synced = True
                yield pb.WatchEvent(synced=True)

    async def Report(self, request: pb.ReportRequest, context: Context) -> pb.ReportReply:  # noqa: N802
        try:
            sequence = await self._store.queue_report(
                request.type,
                request.content_type,
                request.data,
                about_key=request.about_key,
                about_revision=request.about_revision,
                report_id=request.id,
            )
        except ValueError as error:
            await _abort(context, grpc.StatusCode.INVALID_ARGUMENT, error)
        except ReportQueueFull as error:
            await _abort(context, grpc.StatusCode.RESOURCE_EXHAUSTED, error)
        except DatabaseError as error:
            log.error("store_failed", error=str(error))
            await _abort(context, grpc.StatusCode.UNAVAILABLE, error)
        return pb.ReportReply(sequence=sequence)

    async def GetStatus(self, request: pb.GetStatusRequest, context: Context) -> pb.Status:  # noqa: N802
        vif, documents, reports = await self._store.counts()
        session = self._channel.current
        return pb.Status(
            vif_id=vif,
            connected=session is not None,
            synced=session is not None and session.synced,
            version=session.version if session is not None else 0,
            documents=documents,
            reports_queued=reports,
            last_close=self._channel.last_close,
            files=str(self._files.directory or ""),
            files_behind=len(self._files.errors),
            files_error=next(iter(self._files.errors.values()), ""),
            hooks=str(self._hooks.directory) if self._hooks else "",
            hooks_pending=self._hooks.pending if self._hooks else 0,
            hooks_running=self._hooks.running if self._hooks else 0,
        )

    async def _put(self, document: Stored, inline: int) -> pb.WatchEvent | None:
        """None when the document has been replaced meanwhile: the newer one is a later change."""
        put = pb.WatchEvent.Put(document=self._document(document), inlined=document.size <= inline)
        if put.inlined:
            try:
                put.content = b"".join(
                    [await self._store.piece(document, n) for n in range(_pieces(document))]
                )
            except ContentGone:
                return None
        return pb.WatchEvent(put=put)

    def _document(self, document: Stored) -> pb.Document:
        path = self._files.path(document.key)
        return pb.Document(
            key=document.key,
            revision=document.revision,
            content_type=document.content_type,
            sha256=document.sha256,
            size=document.size,
            stored_unix_ns=document.stored_unix_ns,
            file=str(path or ""),
        )

    async def _turns_until_stop(self) -> AsyncIterator[None]:
        turns = self._files.published()
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            while not self._stopping.is_set():
                turn = asyncio.ensure_future(anext(turns))
                try:
                    await asyncio.wait((turn, stopping), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    if not turn.done():
                        turn.cancel()
                if turn.done() and not turn.cancelled():
                    turn.result()
                    yield
        finally:
            stopping.cancel()


def _pieces(document: Stored) -> int:
    return -(-document.size // limits.PIECE_BYTES)


async def _abort(context: Context, code: grpc.StatusCode, error: Exception) -> NoReturn:
    await context.abort(code, str(error))
    raise AssertionError("abort always raises")
