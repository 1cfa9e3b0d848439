# SPDX-License-Identifier: Apache-2.0
"""One VIF: dials, runs a session, and when that ends for whatever reason, tries again;
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
from hvchannel_daemons.feed import Feed, FeedError, Session, SessionState
from hvchannel_daemons.hostd import metrics
from hvchannel_daemons.hostd.backoff import Backoff
from hvchannel_daemons.hostd.route import WrongRoute, check_source
from hvchannel_daemons.hostd.session import HostSession, Peer, Settings

log = structlog.get_logger()

_STABLE_SECONDS: Final = 5.0  # a session that lasted this long has earned a quick first retry
_STOP_SECONDS: Final = 3.0


class VifLink:
    """`wake` tells it that documents of the VIF changed."""

    def __init__(
        self, vif: str, lip: str, port: int, feed: Feed, settings: Settings, *, host: str, source: str | None
    ) -> None:
        """Starts at once. `host`: this hypervisor's name. `source`: the hypervisor's address on the channel,
        if the route shall be checked."""
        self.lip = lip
        self.wake = asyncio.Event()
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
        await self._show(SessionState.CONNECTING, "")
        while not self._stop.done():
            began = asyncio.get_running_loop().time()
            reason = await self._attempt()
            if self._stop.done():
                return
            if asyncio.get_running_loop().time() - began > _STABLE_SECONDS:
                backoff.reset()
            await self._show(SessionState.BACKOFF, reason)
            await asyncio.wait((self._stop,), timeout=backoff.pause())

    async def _attempt(self) -> str:
        """Dials and runs one session; returns why it ended, in one line."""
        try:
            if self._source is not None:
                check_source(self.lip, self._port, self._source)
            family = "ipv6" if ":" in self.lip else "ipv4"
            target = f"{family}:{self._address}"
            with metrics.attempt():
                async with grpc.aio.insecure_channel(target, options=transport.CLIENT) as channel:
                    await self._converse(channel)
        except WrongRoute as error:
            return str(error)
        except TimeoutError:
            return f"no answer from {self._address} within {self._settings.connect_seconds:g} s"
        except grpc.aio.AioRpcError as error:
            return transport.cause(error.code(), error.details(), self._address)
        except PeerSilent as error:
            return f"guest is silent: {error}"
        except SessionOver as over:
            return str(over)
        except FeedError as error:
            self._log.error("feed_failed", error=str(error))
            return str(error)
        except Exception as error:  # one VIF's trouble must not end hostd, nor go unseen
            self._log.exception("session_failed")
            return f"internal error: {type(error).__name__}: {error}"
        raise AssertionError("a session ends by raising")

    async def _converse(self, channel: grpc.aio.Channel) -> None:
        call = channel_pb2_grpc.ChannelStub(channel).Session()
        try:
            connecting = asyncio.ensure_future(call.wait_for_connection())
            await asyncio.wait(
                (connecting, self._stop),
                timeout=self._settings.connect_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if self._stop.done():
                connecting.cancel()
                raise self._stop.result()
            if not connecting.done():
                connecting.cancel()
                raise TimeoutError
            connecting.result()
            await self._show(SessionState.NEGOTIATING, "")
            await HostSession(
                call, self._feed, self._vif, self._settings, self._observe, self.wake, self._stop
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
        report = self._log.warning if state is SessionState.BACKOFF else self._log.info
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


def detached() -> SessionOver:
    return SessionOver(pb.Closing.DETACHED, "the VIF is no longer attached at this hypervisor")


def shutting_down() -> SessionOver:
    return SessionOver(pb.Closing.SHUTTING_DOWN, "hostd is shutting down")
