# SPDX-License-Identifier: Apache-2.0
"""One VIF: claims it, dials, runs a session, and when that ends for whatever reason, tries again;
its state is in the feed."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Final

import grpc
import structlog

from hvchannel_daemons.channel import channel_pb2 as pb
from hvchannel_daemons.channel import transport
from hvchannel_daemons.channel.closing import SessionOver
from hvchannel_daemons.channel.tls import dial
from hvchannel_daemons.feed import Claim, Feed, FeedError, Session, SessionState
from hvchannel_daemons.hostd import metrics
from hvchannel_daemons.hostd.backoff import Backoff, Damper, Pause, pace
from hvchannel_daemons.hostd.endings import CallEnded, ending
from hvchannel_daemons.hostd.route import check_source
from hvchannel_daemons.hostd.session import HostSession, Peer, Settings
from hvchannel_daemons.hostd.states import Ending, Machine
from hvchannel_daemons.reasons import Reason

log = structlog.get_logger()

_REFRESH_PACES: Final = 10  # between two writes that tell no more than the number of attempts
_STOP_SECONDS: Final = 3.0
_CONNECTED: Final = (grpc.ChannelConnectivity.READY, grpc.ChannelConnectivity.IDLE)
"""Of a channel whose call failed at once: the guest ended it, in words of its own, and hung up (IDLE) or did not."""


class VifLink:
    def __init__(
        self,
        vif: str,
        lip: str,
        port: int,
        feed: Feed,
        settings: Settings,
        *,
        host: str,
        source: str | None,
        vifs: Callable[[], int] = lambda: 1,
    ) -> None:
        """Starts at once. `host`: this hypervisor's name. `source`: the hypervisor's address on the channel,
        if the route shall be checked. `vifs` tells how many VIFs this hypervisor has."""
        self.lip = lip
        self._vif = vif
        self._port = port
        self._address = f"[{lip}]:{port}" if ":" in lip else f"{lip}:{port}"
        self._feed = feed
        self._settings = settings
        self._source = source
        self._vifs = vifs
        self._damper = Damper(vifs)
        self._machine = Machine(vif, self._address, host, time.time_ns)
        self._began = 0.0  # the present session, loop time
        self._shown: Session | None = None
        self._shown_at = 0.0
        self._log = log.bind(vif=vif, address=self._address)
        self._stop: asyncio.Future[SessionOver] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(), name=f"vif-{vif}")

    @property
    def state(self) -> SessionState:
        return self._machine.state

    async def stop(self, over: SessionOver) -> None:
        """Ends the session, telling the guest why, and returns when nothing of it runs any more."""
        if not self._stop.done():
            self._stop.set_result(over)
        await asyncio.wait((self._task,), timeout=_STOP_SECONDS)
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        backoff = Backoff()
        await self._wait(self._stop, self._damper.first())
        while not self._stop.done():
            try:
                claim = await self._claimed()
            except FeedError as error:
                self._log.error("feed_failed", error=str(error))
                await asyncio.wait((self._stop,), timeout=backoff.pause())
                continue
            if claim is not None:
                await self._serve(claim)

    async def _claimed(self) -> Claim | None:
        """The VIF, once no other hypervisor holds it; None when it is to stop first. Raises FeedError."""
        claiming = asyncio.ensure_future(self._feed.claim(self._vif, self._contended))
        await asyncio.wait((claiming, self._stop), return_when=asyncio.FIRST_COMPLETED)
        if not claiming.done():
            claiming.cancel()
            await asyncio.wait((claiming,))
            return None
        return claiming.result()

    async def _contended(self, host: str) -> None:
        self._machine.contended(_served_by(self._vif, host))
        await self._show()

    async def _serve(self, claim: Claim) -> None:
        """Until it is to stop, or another hypervisor has taken the VIF."""
        over = _first(self._stop, claim)
        while not over.done():
            self._machine.connecting()
            await self._show()
            ending = await self._attempt(claim, over)
            if over.done():
                break
            pause = self._pause()
            self._machine.ended(ending, damped=pause.damped, pause_seconds=pause.seconds)
            await self._show()
            await self._wait(over, pause)
        if not self._stop.done():
            await self._contended(claim.taken.result())

    def _pause(self) -> Pause:
        """Until the next attempt, now that one has ended."""
        if self._machine.state in (SessionState.SYNCING, SessionState.READY):
            return self._damper.ended(asyncio.get_running_loop().time() - self._began)
        return self._damper.failed()

    async def _wait(self, over: asyncio.Future[SessionOver], pause: Pause) -> None:
        await asyncio.wait((over,), timeout=pause.seconds)

    async def _attempt(self, claim: Claim, over: asyncio.Future[SessionOver]) -> Ending:
        """Dials and runs one session; returns why it ended."""
        try:
            if self._source is not None:
                check_source(self.lip, self._port, self._source)
            family = "ipv6" if ":" in self.lip else "ipv4"
            target = f"{family}:{self._address}"
            with metrics.attempt():
                tls = self._settings.tls
                async with dial(target, self._vif, transport.CLIENT, tls) as channel:
                    await self._converse(channel, claim, over)
        except Exception as error:  # one VIF's trouble must not end hostd, nor go unseen
            ended = ending(error, self._address)
            if ended.code is Reason.INTERNAL:
                self._log.exception("session_failed")
            elif ended.code is Reason.FEED_FAILED:
                self._log.error("feed_failed", error=ended.line)
            return ended
        raise AssertionError("a session ends by raising")

    async def _converse(
        self, channel: grpc.aio.Channel, claim: Claim, over: asyncio.Future[SessionOver]
    ) -> None:
        call = transport.session(channel)
        try:
            connecting = asyncio.ensure_future(call.wait_for_connection())
            await asyncio.wait(
                (connecting, over),
                timeout=self._settings.connect_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if over.done():
                connecting.cancel()
                raise over.result()
            if not connecting.done():
                connecting.cancel()
                seconds = self._settings.connect_seconds
                raise TimeoutError(f"no answer from {self._address} within {seconds:g} s")
            try:
                connecting.result()
            except grpc.aio.AioRpcError as error:
                if channel.get_state() in _CONNECTED:
                    raise CallEnded(error.code(), error.details()) from error
                raise
            self._machine.negotiating()
            await self._show()
            settings = self._settings.for_vifs(self._vifs())
            await HostSession(call, self._feed, self._vif, settings, self._observe, claim.changed, over).run()
        finally:
            call.cancel()

    async def _observe(self, state: SessionState, peer: Peer) -> None:
        if state is SessionState.SYNCING:
            self._began = asyncio.get_running_loop().time()
            self._machine.syncing(peer.version, peer.agent)
        else:
            self._machine.ready()
        await self._show()

    async def _show(self) -> None:
        """Writes the record to the feed when it is news: a guest that stays away costs next to no writes. So its
        next attempts are not shown as CONNECTING, and their number only now and then."""
        session, shown, now = self._machine.record(), self._shown, asyncio.get_running_loop().time()
        if shown is not None:
            same = (session.state, session.code, session.reason) == (shown.state, shown.code, shown.reason)
            again = session.state is SessionState.CONNECTING
            if again or (same and now - self._shown_at < _REFRESH_PACES * pace(self._vifs())):
                return
        if shown is None or (session.state, session.reason) != (shown.state, shown.reason):
            report = self._log.warning if session.code else self._log.info
            report("session", state=session.state.value, code=session.code.value, reason=session.reason)
        self._shown, self._shown_at = session, now
        try:
            await self._feed.set_session(session)
        except FeedError as error:
            self._shown = None
            self._log.error("feed_failed", error=str(error))


def _served_by(vif: str, host: str) -> str:
    return f"{vif} is served by hypervisor {host}"


def _first(stop: asyncio.Future[SessionOver], claim: Claim) -> asyncio.Future[SessionOver]:
    """Why the sessions of a claim are over: resolves to whichever comes first."""
    over: asyncio.Future[SessionOver] = asyncio.get_running_loop().create_future()

    def stopped(done: asyncio.Future[SessionOver]) -> None:
        if not over.done():
            over.set_result(done.result())

    def taken(done: asyncio.Future[str]) -> None:
        if not over.done() and not done.cancelled():
            over.set_result(SessionOver(pb.Closing.DETACHED, _served_by(claim.vif, done.result())))

    stop.add_done_callback(stopped)
    claim.taken.add_done_callback(taken)
    return over


def detached() -> SessionOver:
    return SessionOver(pb.Closing.DETACHED, "the VIF is no longer attached at this hypervisor")


def shutting_down() -> SessionOver:
    return SessionOver(pb.Closing.SHUTTING_DOWN, "hostd is shutting down")
