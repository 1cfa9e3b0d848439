# SPDX-License-Identifier: Apache-2.0
"""One session from the guest's end: receives documents, makes them durable, acknowledges;
sends queued reports."""

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Coroutine, Iterable, Sequence
from typing import Any, Final

import grpc
import structlog

from hvchannel_daemons import limits
from hvchannel_daemons.channel import channel_pb2 as pb
from hvchannel_daemons.channel import transport
from hvchannel_daemons.channel.closing import SessionOver, first_cause, told
from hvchannel_daemons.channel.pulse import PeerSilent, Pulse
from hvchannel_daemons.channel.versions import AGENT, GROUPS
from hvchannel_daemons.guestd import metrics
from hvchannel_daemons.guestd.assembly import Assembly, Damaged, ProtocolError, Rejected
from hvchannel_daemons.guestd.files import Files
from hvchannel_daemons.guestd.grouping import ArrivedGroup, Grouping
from hvchannel_daemons.guestd.store import (
    Application,
    Applied,
    Binding,
    GroupRefused,
    GuestStore,
    NotBound,
    full,
)
from hvchannel_daemons.guestd.store_tables import Arrived, QueuedReport
from hvchannel_daemons.storage.database import DatabaseError

log = structlog.get_logger()

Context = grpc.aio.ServicerContext[pb.HostMessage, pb.GuestMessage]

_COMMIT_TOGETHER: Final = 256  # documents in one commit, at most
_REPORTS_TOGETHER: Final = 16
_UNACKED_REPORTS: Final = 64
_UNACKED_BYTES: Final = 4 * limits.MIB
_GOODBYE_SECONDS: Final = 1.0

_OUTCOMES: Final = {
    Applied.STORED: pb.DocumentAck.STORED,
    Applied.DUPLICATE: pb.DocumentAck.DUPLICATE,
    Applied.STALE: pb.DocumentAck.STALE,
    Applied.FULL: pb.DocumentAck.REJECTED,
}

_Step = (
    Arrived | ArrivedGroup | pb.DocumentAck | pb.Synced
)  # what the receiving task hands to the storing task, in order


class GuestSession:
    """`run` it once; `stop` ends it from outside."""

    def __init__(
        self,
        context: Context,
        store: GuestStore,
        files: Files,
        binding: Binding,
        version: int,
        heartbeat_seconds: float,
    ) -> None:
        self.binding = binding
        self.version = version
        self.synced = False
        self._context = context
        self._store = store
        self._files = files
        self._pulse = Pulse(heartbeat_seconds)
        self._writing = asyncio.Lock()  # gRPC allows one write at a time
        self._steps: asyncio.Queue[_Step] = asyncio.Queue(64)
        self._assembly = Assembly(store.directory)
        self._grouping = Grouping()
        self._unacked: dict[int, int] = {}  # sequence of a sent report -> its bytes
        self._last_sent = 0
        self._reports_acked = asyncio.Event()
        self._over: SessionOver | None = None  # why this end closes the session
        self._stop: asyncio.Future[SessionOver] = asyncio.get_running_loop().create_future()

    def stop(self, over: SessionOver) -> None:
        if not self._stop.done():
            self._stop.set_result(over)

    async def run(self) -> str:
        """Until the session ends; returns why, in one line.
        The caller has answered nothing yet but read Hello."""
        try:
            await self._with_goodbye(self._open())
            async with asyncio.TaskGroup() as tasks:
                for task in (
                    self._receive(),
                    self._store_and_ack(),
                    self._send_reports(),
                    self._beat(),
                    self._pulse.silence(),
                    self._stopped(),
                ):
                    tasks.create_task(self._with_goodbye(task))
        except* Exception as group:
            reason = str(self._over or first_cause(group))
        finally:
            self._assembly.close()
            self._grouping.abandon()
            while not self._steps.empty():
                _close_contents([self._steps.get_nowait()])
        return reason

    async def _with_goodbye(self, task: Coroutine[Any, Any, None]) -> None:
        """Tells the hypervisor why, while the other tasks still run: a cancelled write would take the stream down."""
        try:
            await task
        except Exception as error:
            if self._over is None:
                self._over = _session_over(error)
                with contextlib.suppress(Exception):
                    async with asyncio.timeout(_GOODBYE_SECONDS):
                        await self._send(pb.GuestMessage(closing=self._over.closing()))
            raise

    async def _open(self) -> None:
        await self._send(pb.GuestMessage(welcome=pb.Welcome(version=self.version, agent=AGENT)))
        await self._send_inventory()

    async def _send(self, message: pb.GuestMessage) -> None:
        async with self._writing:
            await self._context.write(message)
            self._pulse.sent()

    async def _send_inventory(self) -> None:
        # a document without its file is sent again, which tries to write the file again
        held = [
            (key, revision)
            for key, revision in await self._store.inventory(self.binding)
            if key not in self._files.errors
        ]
        for start in range(0, max(len(held), 1), limits.INVENTORY_PART):
            part = held[start : start + limits.INVENTORY_PART]
            entries = (pb.Inventory.Entry(key=key, revision=revision) for key, revision in part)
            last = start + limits.INVENTORY_PART >= len(held)
            await self._send(pb.GuestMessage(inventory=pb.Inventory(entries=entries, last=last)))

    async def _stopped(self) -> None:
        raise await self._stop

    async def _beat(self) -> None:
        while True:
            await self._pulse.due()
            await self._send(pb.GuestMessage(heartbeat=pb.Heartbeat()))

    async def _receive(self) -> None:
        while True:
            message = await self._context.read()
            if transport.ended(message):
                raise SessionOver(pb.Closing.REASON_UNSPECIFIED, "the hypervisor ended the stream")
            self._pulse.heard()
            kind = message.WhichOneof("message")
            try:
                if kind == "begin":
                    await self._arrived(await self._assembly.begin(message.begin))
                elif kind == "piece":
                    await self._arrived(await self._assembly.piece(message.piece))
                elif kind == "group_begin" and self.version >= GROUPS:
                    self._grouping.begin(message.group_begin)
                elif kind == "group_end" and self.version >= GROUPS:
                    await self._group_ended(message.group_end)
                elif kind == "synced":
                    await self._steps.put(message.synced)
                elif kind == "report_ack":
                    await self._report_acked(message.report_ack.sequence)
                elif kind == "closing":
                    raise SessionOver(pb.Closing.REASON_UNSPECIFIED, f"hypervisor: {told(message.closing)}")
                elif kind != "heartbeat":
                    raise ProtocolError(f"message {kind!r} is not valid here")
            except Rejected as error:
                log.warning("document_rejected", **self._about(error), why=str(error))
                if self._grouping.is_open:
                    self._grouping.reject(error)
                else:
                    await self._steps.put(_rejection(error, str(error), _refusal([error])))

    async def _arrived(self, document: Arrived | None) -> None:
        if document is None:
            return
        if self._grouping.is_open:
            self._grouping.add(document)
        else:
            await self._steps.put(document)

    async def _group_ended(self, end: pb.GroupEnd) -> None:
        if end.abandoned:
            self._assembly.close()
            self._grouping.abandon()
        else:
            await self._steps.put(self._grouping.end())

    async def _store_and_ack(self) -> None:
        """Takes all that waits, commits it together, then acknowledges it together."""
        while True:
            steps = [await self._steps.get()]
            while len(steps) < _COMMIT_TOGETHER and not self._steps.empty():
                steps.append(self._steps.get_nowait())
            acks: list[pb.DocumentAck] = []
            try:
                for kind, run in itertools.groupby(steps, type):
                    if kind is ArrivedGroup:
                        for group in run:
                            acks += await self._apply_group(group)  # type: ignore[arg-type]
                    elif kind is Arrived:
                        acks += await self._apply(list(run))  # type: ignore[arg-type]
                    elif kind is pb.DocumentAck:
                        acks += run  # type: ignore[arg-type]
            finally:
                _close_contents(steps)
            for start in range(0, len(acks), limits.ACKS_TOGETHER):
                part = acks[start : start + limits.ACKS_TOGETHER]
                for ack in part:
                    metrics.acked(ack)
                await self._send(pb.GuestMessage(acks=pb.DocumentAcks(acks=part)))
            if any(isinstance(step, pb.Synced) for step in steps):
                swept = await self._store.sweep(self.binding)
                await self._files.synced(swept=bool(swept))
                self.synced = True
                log.info("synced", vif=self.binding.vif, dropped_of_earlier_origin=swept)

    async def _apply(self, documents: list[Arrived]) -> list[pb.DocumentAck]:
        """Stores what can be stored, each on its own; the answers come when the files are there, too."""
        try:
            results = await self._stored(self._store.apply(self.binding, documents), documents)
        except DatabaseError as error:
            if len(documents) > 1:  # one that does not fit must not fail the others
                acks = []
                for document in documents:
                    document.rewind()
                    acks += await self._apply([document])
                return acks
            log.error("store_failed", **self._about(documents[0]), error=str(error))
            return [_ack(documents[0], pb.DocumentAck.FAILED, error=str(error))]
        return [self._answer(document, result) for document, result in zip(documents, results, strict=True)]

    async def _apply_group(self, group: ArrivedGroup) -> list[pb.DocumentAck]:
        """Stores all or none."""
        documents, error = group.documents, group.error
        if not error:
            try:
                results = await self._stored(self._store.apply_group(self.binding, documents), documents)
                return [self._answer(d, result) for d, result in zip(documents, results, strict=True)]
            except GroupRefused as refused:
                error = str(refused)
            except DatabaseError as failure:
                log.error(
                    "store_failed",
                    vif=self.binding.vif,
                    group=[document.key for document in documents],
                    error=str(failure),
                )
                return [_ack(d, pb.DocumentAck.FAILED, error=str(failure)) for d in documents]
        why = f"its group was refused: {error}"
        log.warning(
            "group_rejected", vif=self.binding.vif, members=len(documents) + len(group.rejected), why=error
        )
        return [
            *(_ack(document, _refusal(group.rejected), error=why) for document in documents),
            *(_rejection(member, why, _refusal(group.rejected)) for member in group.rejected),
        ]

    async def _stored(
        self, storing: Awaitable[list[Application]], documents: Sequence[Arrived]
    ) -> list[Application]:
        """What the store says; by then the files are there, too. What is large both write at once: a disk takes it as
        one."""
        if self._files.staged_at_once(documents):
            results = await storing
        else:
            outcome, _ = await asyncio.gather(storing, self._files.stage(documents), return_exceptions=True)
            if isinstance(outcome, BaseException):
                raise outcome
            results = outcome
        await self._files.publish()
        return results

    def _answer(self, document: Arrived, result: Application) -> pb.DocumentAck:
        why = self._files.errors.get(document.key)
        if why is not None and result.applied in (Applied.STORED, Applied.DUPLICATE):
            return _ack(document, pb.DocumentAck.FAILED, error=f"stored, but its file is not: {why}")
        error = full() if result.applied is Applied.FULL else ""
        return _ack(document, _OUTCOMES[result.applied], held=result.held, error=error)

    def _about(self, document: Rejected | Arrived) -> dict[str, Any]:
        """What a line of the log is about."""
        return {"vif": self.binding.vif, "key": document.key, "revision": document.revision}

    async def _send_reports(self) -> None:
        async for _ in self._store.reports():
            more = True
            while more:
                reports = await self._store.queued_reports(after=self._last_sent, limit=_REPORTS_TOGETHER)
                more = len(reports) == _REPORTS_TOGETHER
                for report in reports:
                    await self._room_for(report)
                    self._unacked[report.sequence] = len(report.data)
                    self._last_sent = report.sequence
                    await self._send(pb.GuestMessage(report=_report(report)))
                    metrics.REPORTS_SENT.inc()

    async def _room_for(self, report: QueuedReport) -> None:
        while self._unacked and (
            len(self._unacked) >= _UNACKED_REPORTS
            or sum(self._unacked.values()) + len(report.data) > _UNACKED_BYTES
        ):
            self._reports_acked.clear()
            await self._reports_acked.wait()

    async def _report_acked(self, sequence: int) -> None:
        if sequence > self._last_sent:
            raise ProtocolError(f"an ack of report {sequence}, but the last one sent is {self._last_sent}")
        await self._store.forget_reports(self.binding, sequence)
        for sent in [sent for sent in self._unacked if sent <= sequence]:
            del self._unacked[sent]
            metrics.REPORTS_ACKED.inc()
        self._reports_acked.set()


def _session_over(error: BaseException) -> SessionOver:
    match error:
        case SessionOver():
            return error
        case ProtocolError():
            return SessionOver(pb.Closing.PROTOCOL_ERROR, f"protocol error: {error}")
        case PeerSilent():
            return SessionOver(pb.Closing.SILENT, f"hypervisor is silent: {error}")
        case NotBound():
            return SessionOver(pb.Closing.SUPERSEDED, str(error))
        case DatabaseError():
            return SessionOver(pb.Closing.STORE_FAILED, f"store failed: {error}")
        case _:
            log.error("session_failed", exc_info=error)
            return SessionOver(pb.Closing.REASON_UNSPECIFIED, f"internal error: {type(error).__name__}")


def _ack(
    document: Arrived, outcome: pb.DocumentAck.Outcome.ValueType, *, held: int = 0, error: str = ""
) -> pb.DocumentAck:
    return pb.DocumentAck(
        key=document.key, revision=document.revision, outcome=outcome, held_revision=held, error=error
    )


def _report(report: QueuedReport) -> pb.Report:
    return pb.Report(
        sequence=report.sequence,
        id=report.id,
        type=report.type,
        content_type=report.content_type,
        data=report.data,
        time_unix_ns=report.time_unix_ns,
        about_key=report.about_key,
        about_revision=report.about_revision,
    )


def _refusal(rejected: Sequence[Rejected]) -> pb.DocumentAck.Outcome.ValueType:
    """What to answer all of them: that another try may help, when damage is all that was wrong."""
    damaged = bool(rejected) and all(isinstance(one, Damaged) for one in rejected)
    return pb.DocumentAck.FAILED if damaged else pb.DocumentAck.REJECTED


def _rejection(member: Rejected, why: str, outcome: pb.DocumentAck.Outcome.ValueType) -> pb.DocumentAck:
    return pb.DocumentAck(key=member.key, revision=member.revision, outcome=outcome, error=why)


def _close_contents(steps: Iterable[_Step]) -> None:
    for step in steps:
        if isinstance(step, Arrived):
            step.close()
        elif isinstance(step, ArrivedGroup):
            for document in step.documents:
                document.close()
