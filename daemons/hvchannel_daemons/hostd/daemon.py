# SPDX-License-Identifier: Apache-2.0
"""hostd put together: the controller says which VIFs there are,
the feed says what they shall have, links deliver."""

import asyncio
import contextlib
import socket
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from hvchannel_telemetry import exposition
from hvchannel_telemetry.log_levels import LogLevels
from hvchannel_telemetry.metrics_address import MetricsAddress
from hvchannel_telemetry.process_service import ProcessService
from prometheus_client import CollectorRegistry

from hvchannel_daemons import limits, logs
from hvchannel_daemons.feed import Access, Feed, FeedAwayError, SessionState, open_feed
from hvchannel_daemons.hostd import attachments, local_server, neighbours
from hvchannel_daemons.hostd.backoff import Backoff
from hvchannel_daemons.hostd.condition import Condition
from hvchannel_daemons.hostd.link import VifLink, detached, shutting_down
from hvchannel_daemons.hostd.metrics import HostdCollector
from hvchannel_daemons.hostd.session import Settings

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Options:
    control: Path  # the controller's unix socket
    feed: str
    port: int = 2345  # of guestd
    source: str | None = None  # the hypervisor's address on the channel; None: do not check the route
    settings: Settings = Settings()  # noqa: RUF009 - frozen
    access: Access = Access()  # noqa: RUF009 - frozen
    host: str = field(default_factory=socket.gethostname)  # this hypervisor's name in the feed
    socket: Path | None = None  # of hostd's own server; None: it has none
    metrics: MetricsAddress | None = None
    metrics_per_vif: bool = False


class Links:
    """All VIFs at once; one that is slow, dead or hostile has a task of its own and delays nobody."""

    def __init__(self, feed: Feed, options: Options, left: set[str]) -> None:
        """`left`: VIFs that an earlier hostd held, and never released."""
        self._feed = feed
        self._options = options
        self._left = left
        self._links: dict[str, VifLink] = {}

    async def attached(self, vif: str, lip: str) -> None:
        known = self._links.get(vif)
        if known is not None and known.lip == lip:
            return
        try:
            limits.check_vif(vif)
        except ValueError as error:
            log.error("vif_ignored", reason=str(error))
            return
        if known is not None:
            await known.stop(detached())
        log.info("vif_attached", vif=vif, lip=lip)
        neighbours.forget(lip)
        self._links[vif] = VifLink(
            vif,
            lip,
            self._options.port,
            self._feed,
            self._options.settings,
            host=self._options.host,
            source=self._options.source,
            vifs=lambda: len(self._links),
        )

    async def detached(self, vif: str) -> None:
        link = self._links.pop(vif, None)
        if link is not None:
            log.info("vif_detached", vif=vif)
            await link.stop(detached())
            await self._feed.release(vif)

    def states(self) -> dict[str, SessionState]:
        return {vif: link.state for vif, link in self._links.items()}

    async def only(self, vifs: set[str]) -> None:
        for vif in self._links.keys() - vifs:
            await self.detached(vif)
        left, self._left = self._left - vifs, set()
        for vif in left:
            await self._feed.release(vif)

    async def stop(self) -> None:
        links, self._links = self._links, {}
        await asyncio.gather(*(link.stop(shutting_down()) for link in links.values()))
        for vif in links:
            await self._feed.drop_session(vif)


async def run(options: Options, stop: asyncio.Event) -> None:
    """Serves until `stop` is set. A feed that is away is waited for, at the start as later.

    Raises ValueError for options that do not go together; SocketError; MetricsAddressError; FeedError;
    FeedClaimedError when another hostd serves the feed for this host.
    """
    condition = Condition()
    process = ProcessService(condition.health(), LogLevels(logs.OWN))
    tls = options.settings.tls
    collector, registry = HostdCollector(condition, tls, per_vif=options.metrics_per_vif), CollectorRegistry()
    collector.register(registry)
    async with (
        local_server.serving(options.socket, process),
        exposition.serving(options.metrics, registry, collector.prepare),
        tls.watched() if tls is not None else contextlib.nullcontext(),
    ):
        await _serve(options, stop, condition, collector)


async def _serve(
    options: Options, stop: asyncio.Event, condition: Condition, collector: HostdCollector
) -> None:
    served = await _served(options, stop, condition)
    if served is None:
        return
    feed, left = served
    condition.feed = feed
    try:
        links = collector.sessions = Links(feed, options, left)
        following = [
            asyncio.create_task(attachments.follow(options.control, links, condition)),
            asyncio.create_task(feed.failed()),
        ]
        stopping = asyncio.create_task(stop.wait())
        log.info("serving", host=options.host, feed=options.feed, control=str(options.control))
        try:
            await asyncio.wait((*following, stopping), return_when=asyncio.FIRST_COMPLETED)
            for done in following:
                if done.done():
                    done.result()  # neither ever returns: this raises
        finally:
            for task in (*following, stopping):
                task.cancel()
            await asyncio.gather(*following, stopping, return_exceptions=True)
            await links.stop()
    finally:
        await feed.close()
        log.info("stopped")


async def _served(
    options: Options, stop: asyncio.Event, condition: Condition
) -> tuple[Feed, set[str]] | None:
    """The feed, once it can be reached and is ours to serve, and what `Feed.serve` gave; None when `stop` came
    first."""
    backoff, said = Backoff(), ""
    while not stop.is_set():
        try:
            feed = await open_feed(options.feed, options.access)
            try:
                return feed, await feed.serve(options.host)
            except BaseException:
                await feed.close()
                raise
        except FeedAwayError as error:
            condition.feed_away = str(error)
            if str(error) != said:
                said = str(error)
                log.warning("feed_away", reason=said)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(backoff.pause()):
                await stop.wait()
    return None
