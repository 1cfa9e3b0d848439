# SPDX-License-Identifier: Apache-2.0
"""guestd's server for local programs (guest_local.proto). Slow callers are held back by flow control;
nothing is queued for them: each has a position in the store's order of changes and reads on from there."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final, NoReturn

import grpc
import structlog

from hvchannel_daemons import limits
from hvchannel_daemons.guestd.channel_service import ChannelService
from hvchannel_daemons.guestd.store import GuestStore, ReportQueueFull
from hvchannel_daemons.guestd.store_tables import Stored
from hvchannel_daemons.local import guest_local_pb2 as pb
from hvchannel_daemons.local import guest_local_pb2_grpc
from hvchannel_daemons.storage.database import DatabaseError
from hvchannel_daemons.storage.pieces import ContentGone

log = structlog.get_logger()

Context = grpc.aio.ServicerContext[object, object]

_BATCH: Final = 128


class LocalService(guest_local_pb2_grpc.GuestServicer):
    def __init__(self, store: GuestStore, channel: ChannelService) -> None:
        self._store = store
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
            yield pb.GetReply(document=_document(document))
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
                yield _document(document)
            after = documents[-1].key

    async def Watch(  # noqa: N802
        self, request: pb.WatchRequest, context: Context
    ) -> AsyncIterator[pb.WatchEvent]:
        inline = min(request.inline_bytes, limits.INLINE_BYTES)
        told: set[str] = set()  # keys the caller believes to exist: the deletions it needs to hear of
        position = 0
        synced_at = await self._store.position()
        synced = False
        async for _ in self._turns_until_stop():
            while True:
                changes = await self._store.changes(request.prefix, after=position, limit=_BATCH)
                for change in changes:
                    if not change.deleted:
                        event = await self._put(change, inline)
                        if event is not None:
                            told.add(change.key)
                            yield event
                    elif change.key in told:
                        told.remove(change.key)
                        yield pb.WatchEvent(
                            deleted=pb.WatchEvent.Deleted(key=change.key, revision=change.revision)
                        )
                    position = change.position
                    if not synced and position >= synced_at:
                        synced = True
                        yield pb.WatchEvent(synced=True)
                if len(changes) < _BATCH:
                    break
            if not synced:
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
        )

    async def _put(self, document: Stored, inline: int) -> pb.WatchEvent | None:
        """None when the document has been replaced meanwhile: the newer one is a later change."""
        put = pb.WatchEvent.Put(document=_document(document), inlined=document.size <= inline)
        if put.inlined:
            try:
                put.content = b"".join(
                    [await self._store.piece(document, n) for n in range(_pieces(document))]
                )
            except ContentGone:
                return None
        return pb.WatchEvent(put=put)

    async def _turns_until_stop(self) -> AsyncIterator[None]:
        turns = self._store.turns()
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


def _document(document: Stored) -> pb.Document:
    return pb.Document(
        key=document.key,
        revision=document.revision,
        content_type=document.content_type,
        sha256=document.sha256,
        size=document.size,
        stored_unix_ns=document.stored_unix_ns,
    )


async def _abort(context: Context, code: grpc.StatusCode, error: Exception) -> NoReturn:
    await context.abort(code, str(error))
    raise AssertionError("abort always raises")
