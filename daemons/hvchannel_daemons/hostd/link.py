# SPDX-License-Identifier: Apache-2.0
"""One VIF: claims it, dials, runs a session, and when that ends for whatever reason, tries again;
its state is in the feed."""

import asyncio
import contextlib
import time
from typing import Final

import grpc
import structlog

from hvchannel_daemons.channel import channel_pb2 as pb
from hvchannel_daemons.channel import channel_pb2_grpc, transport
from hvchannel_daemons.channel.closing import SessionOver
from hvchannel_daemons.channel.pulse import PeerSilent
from hvchannel_daemons.channel.tls import dial
from hvchannel_daemons.feed import Claim, Feed, FeedError, Session, SessionState
from hvchannel_daemons.hostd import metrics
from hvchannel_daemons.hostd.backoff import Backoff
from hvchannel_daemons.hostd.route import WrongRoute, check_source
from hvchannel_daemons.hostd.session import HostSession, Peer, Settings

log = structlog.get_logger()

_STABLE_SECONDS: Final = 5.0  # a session that lasted this long has earned a quick first retry
_STOP_SECONDS: Final = 3.0


class VifLink:
    def __init__(
        self, vif: str, lip: str, port: int, feed: Feed, settings: Settings, *, host: str, source: str | None
    ) -> None:
        """Starts at once. `host`: this hypervisor's name. `source`: the hypervisor's address on the channel,
        if the route shall be checked."""
        self.lip = lip
        self._vif = vif
        self._port = port
        self._address = f"[{lip}]:{port}" if ":" in lip else f"{lip}:{port}"
        self._feed = feed
        self._settings = settings
        self._host = host
        self._source = source
        self._shown: tuple[SessionState, str] | None = None
        self._log = log.bind(vif=vif, address=self._address)
        self._stop: asyncio.Future[SessionOver] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(), name=f"vif-{vif}")

    @property
    def state(self) -> SessionState:
        return self._shown[0] if self._shown is not None else SessionState.CONNECTING

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
        await self._show(SessionState.CONTENDED, _served_by(self._vif, host))

    async def _serve(self, claim: Claim) -> None:
        """Until it is to stop, or another hypervisor has taken the VIF."""
        over = _first(self._stop, claim)
        backoff = Backoff()
        await self._show(SessionState.CONNECTING, "")
        while not over.done():
            began = asyncio.get_running_loop().time()
            reason = await self._attempt(claim, over)
            if over.done():
                break
            if asyncio.get_running_loop().time() - began > _STABLE_SECONDS:
                backoff.reset()
            await self._show(SessionState.BACKOFF, reason)
            await asyncio.wait((over,), timeout=backoff.pause())
        if not self._stop.done():
            await self._contended(claim.taken.result())

    async def _attempt(self, claim: Claim, over: asyncio.Future[SessionOver]) -> str:
        """Dials and runs one session; returns why it ended, in one line."""
        try:
            if self._source is not None:
                check_source(self.lip, self._port, self._source)
            family = "ipv6" if ":" in self.lip else "ipv4"
            target = f"{family}:{self._address}"
            with metrics.attempt():
                tls = self._settings.tls
                async with dial(target, self._vif, transport.CLIENT, tls) as channel:
                    await self._converse(channel, claim, over)
        except WrongRoute as error:
            return str(error)
        except TimeoutError:
            return f"no answer from {self._address} within {self._settings.connect_seconds:g} s"
        except grpc.aio.AioRpcError as error:
            return transport.cause(error.code(), error.details(), self._address)
        except PeerSilent as error:
            return f"guest is silent: {error}"
        except SessionOver as ended:
            return str(ended)
        except FeedError as error:
            self._log.error("feed_failed", error=str(error))
            return str(error)
        except Exception as error:  # one VIF's trouble must not end hostd, nor go unseen
            self._log.exception("session_failed")
            return f"internal error: {type(error).__name__}: {error}"
        raise AssertionError("a session ends by raising")

    async def _converse(
        self, channel: grpc.aio.Channel, claim: Claim, over: asyncio.Future[SessionOver]
    ) -> None:
        call = channel_pb2_grpc.ChannelStub(channel).Session()
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
                raise TimeoutError
            connecting.result()
            await self._show(SessionState.NEGOTIATING, "")
            await HostSession(
                call, self._feed, self._vif, self._settings, self._observe, claim.changed, over
            ).run()
        finally:
            call.cancel()

    async def _observe(self, state: SessionState, peer: Peer) -> None:
        await self._show(state, "", peer)

    async def _show(self, state: SessionState, reason: str, peer: Peer | None = None) -> None:
        """Writes the state to the feed when it is news: a guest that stays away costs no writes."""
        if self._shown == (state, reason):
            return
        self._shown = (state, reason)
        bad = state in (SessionState.BACKOFF, SessionState.CONTENDED)
        report = self._log.warning if bad else self._log.info
        report("session", state=state.value, reason=reason)
        peer = peer or Peer()
        session = Session(
            self._vif, state, reason, time.time_ns(), self._address, peer.version, peer.agent, self._host
        )
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
