# SPDX-License-Identifier: Apache-2.0
"""One session from the hypervisor's end: delivers what the guest lacks, then each change;
records acks and reports."""

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any, Final

import grpc
import structlog

from hvchannel_daemons.channel import channel_pb2 as pb
from hvchannel_daemons.channel import transport
from hvchannel_daemons.channel.closing import SessionOver, first_cause
from hvchannel_daemons.channel.pulse import Pulse
from hvchannel_daemons.channel.tls import Tls
from hvchannel_daemons.channel.versions import AGENT, GROUPS, SPOKEN, Versions
from hvchannel_daemons.feed import Feed, SessionState
from hvchannel_daemons.hostd import metrics, untrusted
from hvchannel_daemons.hostd.backoff import pace
from hvchannel_daemons.hostd.endings import AckOverdue, CallEnded, GuestClosed
from hvchannel_daemons.hostd.intake import Intake
from hvchannel_daemons.hostd.outbox import Outbox
from hvchannel_daemons.hostd.sending import Sender

log = structlog.get_logger()

_NEGOTIATE_SECONDS: Final = 10.0
_ACK_SECONDS: Final = 60.0
_GOODBYE_SECONDS: Final = 1.0
_QUOTA_SECONDS: Final = 5.0  # a change of the quota of reports is heard of within this time


@dataclass(frozen=True, slots=True)
class Settings:
    heartbeat_seconds: float | None = 1.0  # None: by the number of VIFs
    connect_seconds: float = 3.0
    versions: Versions = SPOKEN
    tls: Tls | None = None  # on the channel

    @property
    def heartbeat(self) -> float:
        """Seconds."""
        return pace(0) if self.heartbeat_seconds is None else self.heartbeat_seconds

    def for_vifs(self, vifs: int) -> "Settings":
        """For one session among so many."""
        return replace(self, heartbeat_seconds=pace(vifs)) if self.heartbeat_seconds is None else self


@dataclass(frozen=True, slots=True)
class Peer:
    """What was negotiated."""

    version: int = 0
    agent: str = ""


Observer = Callable[[SessionState, Peer], Awaitable[None]]


class HostSession:
    """`run` it once over one call; it ends by raising. `wake` is set from outside when the VIF's documents
    changed, `stop` resolves to end the session."""

    def __init__(
        self,
        call: transport.Call,
        feed: Feed,
        vif: str,
        settings: Settings,
        observe: Observer,
        wake: asyncio.Event,
        stop: asyncio.Future[SessionOver],
    ) -> None:
        self._call = call
        self._feed = feed
        self._vif = vif
        self._settings = settings
        self._observe = observe
        self._wake = wake
        self._stop = stop
        self._pulse = Pulse(settings.heartbeat)
        self._writing = asyncio.Lock()  # gRPC allows one write at a time
        self._write_began = math.inf  # loop time; of the write that gRPC has not taken yet
        self._last_report = 0
        self._synced = False
        self._over: SessionOver | None = None  # why this end closes the session
        self._log = log.bind(vif=vif)

    async def run(self) -> None:
        """Raises SessionOver, PeerSilent, CallEnded or FeedError: whatever ended the session."""
        try:
            async with asyncio.timeout(_NEGOTIATE_SECONDS):
                peer = await self._negotiate()
                held = await self._inventory()
        except TimeoutError as error:
            raise SessionOver(
                pb.Closing.SILENT, f"no Welcome and Inventory within {_NEGOTIATE_SECONDS:g} s"
            ) from error
        backlog_until = await self._feed.position(self._vif)
        try:
            await self._feed.record_inventory(self._vif, held)
        except ValueError as error:
            raise SessionOver(pb.Closing.PROTOCOL_ERROR, f"guest's inventory: {error}") from error
        outbox = Outbox(self._wake, held, backlog_until)
        intake = Intake()
        del held
        await self._observe(SessionState.SYNCING, peer)
        try:
            async with asyncio.TaskGroup() as tasks:
                for task in (
                    self._send_documents(outbox, peer),
                    self._receive(outbox, intake),
                    self._store_reports(intake),
                    self._beat(),
                    self._pulse.silence(),
                    self._overdue(outbox),
                    self._stopped(),
                ):
                    tasks.create_task(self._with_goodbye(task))
        except BaseExceptionGroup as group:
            raise (self._over or first_cause(group)) from None
        finally:
            outbox.close()

    async def _negotiate(self) -> Peer:
        versions = self._settings.versions
        hello = pb.Hello(
            min_version=versions.least,
            max_version=versions.greatest,
            vif_id=self._vif,
            origin=self._feed.origin,
            heartbeat_ms=int(self._settings.heartbeat * 1000),
            agent=AGENT,
        )
        await self._send(pb.HostMessage(hello=hello))
        message = await self._read()
        if message.WhichOneof("message") != "welcome":
            raise _unexpected(message, "welcome")
        version = message.welcome.version
        if not versions.least <= version <= versions.greatest:
            raise SessionOver(
                pb.Closing.VERSION_MISMATCH, f"guest chose protocol version {version}, offered was {versions}"
            )
        return Peer(version, transport.printable(message.welcome.agent, 128))

    async def _inventory(self) -> dict[str, int]:
        held: dict[str, int] = {}
        while True:
            message = await self._read()
            kind = message.WhichOneof("message")
            if kind == "heartbeat":
                continue
            if kind != "inventory":
                raise _unexpected(message, "inventory")
            untrusted.add_inventory(held, message.inventory)
            if message.inventory.last:
                return held

    async def _send_documents(self, outbox: Outbox, peer: Peer) -> None:
        groups = peer.version >= GROUPS
        sender = Sender(self._send, self._feed, self._vif, outbox, groups=groups)
        while not self._synced:
            self._wake.clear()
            now = await self._feed.position(self._vif)
            await sender.send_what_is_new()
            outbox.passed(now)
            if outbox.caught_up:
                self._synced = True
                await self._send(pb.HostMessage(synced=pb.Synced()))
                await self._observe(SessionState.READY, peer)
            else:
                await self._wake.wait()
        while True:
            self._wake.clear()
            await sender.send_what_is_new()
            await self._wake.wait()

    async def _receive(self, outbox: Outbox, intake: Intake) -> None:
        while True:
            message = await self._read()
            kind = message.WhichOneof("message")
            if kind == "acks":
                acks = untrusted.acks(message.acks)
                acks = [ack for ack in acks if outbox.is_under_way(ack.key, ack.revision)]
                await self._feed.record_acks(self._vif, acks)
                for ack in acks:
                    metrics.acked(ack, outbox.put_unix_ns(ack.key, ack.revision))
                    outbox.answered(ack.key, ack.revision, retry=untrusted.is_temporary(ack))
                    if ack.error:
                        self._log.warning(
                            "not_stored",
                            key=ack.key,
                            revision=ack.revision,
                            outcome=ack.outcome,
                            why=ack.error,
                        )
            elif kind == "report":
                report = untrusted.report(message.report, after=self._last_report)
                self._last_report = report.sequence
                while not await intake.room(len(report.data), self._pulse.interval):
                    self._pulse.heard()  # it is we who do not listen
                intake.put(report)
            elif kind != "heartbeat":
                raise _unexpected(message, "acks, report or heartbeat")

    async def _store_reports(self, intake: Intake) -> None:
        """Stores reports as fast as the VIF's quota allows; the ack is what lets the guest send more."""
        slowed = False
        while True:
            await intake.some()
            pause = intake.pause()
            if intake.rate_is_old(_QUOTA_SECONDS):
                quota = await self._feed.quota(self._vif)
                intake.set_rate(quota.reports_per_second)
            elif pause:
                if not slowed:
                    slowed = True
                    self._log.warning("reports_slowed", reports_per_second=intake.per_second)
                await asyncio.sleep(min(pause, _QUOTA_SECONDS))
            else:
                reports = intake.take()
                await self._feed.add_reports(self._vif, reports)
                metrics.REPORTS.inc(len(reports))
                metrics.REPORT_BYTES.inc(sum(len(report.data) for report in reports))
                await self._send(pb.HostMessage(report_ack=pb.ReportAck(sequence=reports[-1].sequence)))
                slowed = slowed and not intake.is_idle

    async def _beat(self) -> None:
        while True:
            await self._pulse.due()
            await self._send(pb.HostMessage(heartbeat=pb.Heartbeat()))

    async def _overdue(self, outbox: Outbox) -> None:
        """A guest that lives but never answers a document, or takes none of what is sent, is no use either."""
        while True:
            await asyncio.sleep(_ACK_SECONDS / 4)
            waited = asyncio.get_running_loop().time() - self._write_began
            if waited > _ACK_SECONDS:
                raise AckOverdue(
                    f"the guest has taken nothing for {waited:.0f} s: its flow control is closed"
                )
            oldest = outbox.oldest()
            if oldest is not None and oldest[2] > _ACK_SECONDS:
                key, revision, seconds = oldest
                raise AckOverdue(f"no ack of {key} revision {revision} for {seconds:.0f} s")

    async def _stopped(self) -> None:
        raise await asyncio.shield(self._stop)

    async def _send(self, message: pb.HostMessage) -> None:
        async with self._writing:
            self._write_began = asyncio.get_running_loop().time()
            try:
                await self._call.write(message)
            except (asyncio.InvalidStateError, grpc.aio.AioRpcError):
                await self._raise_status()
            self._write_began = math.inf
            self._pulse.sent()

    async def _read(self) -> pb.GuestMessage:
        message = await self._call.read()
        if transport.ended(message):
            await self._raise_status()
        assert isinstance(message, pb.GuestMessage)
        self._pulse.heard()
        kind = message.WhichOneof("message")
        if kind == "closing":
            raise GuestClosed(message.closing)
        if kind is None:
            raise SessionOver(pb.Closing.PROTOCOL_ERROR, "guest sent what is no message of the protocol")
        return message

    async def _raise_status(self) -> None:
        """The stream has ended: by an error, which gRPC knows, or without a word."""
        if self._over is not None:
            raise self._over
        code = await self._call.code()
        if code is grpc.StatusCode.OK:
            raise GuestClosed(None)
        raise CallEnded(code, await self._call.details())

    async def _with_goodbye(self, task: Coroutine[Any, Any, None]) -> None:
        """Tells the guest why, while the other tasks still run:
        to cancel a read or a write cancels the whole call."""
        try:
            await task
        except SessionOver as over:
            if over.reason and self._over is None:
                self._over = over
                await self._goodbye(over)
            raise

    async def _goodbye(self, over: SessionOver) -> None:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await self._send(pb.HostMessage(closing=over.closing()))
                await self._call.done_writing()
                await self._call.code()


def _unexpected(message: pb.GuestMessage, expected: str) -> SessionOver:
    kind = message.WhichOneof("message")
    return SessionOver(pb.Closing.PROTOCOL_ERROR, f"guest sent {kind}, expected was {expected}")
