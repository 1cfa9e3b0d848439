# SPDX-License-Identifier: Apache-2.0
"""hostd's metrics (docs/metrics.md). What happens is counted here as it happens, what is so is read when scraped."""

import asyncio
import contextlib
import time
from collections import Counter as Tally
from collections.abc import Iterator, Mapping
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from hvchannel_daemons.channel.tls import Tls
from hvchannel_daemons.feed import Ack, Feed, FeedError, Outcome, SessionState
from hvchannel_daemons.hostd.condition import Condition
from hvchannel_daemons.hostd.endings import ending

_PENDING_SECONDS: Final = 10.0  # between two counts of what is pending: it takes a look at each VIF
_PATIENCE_SECONDS: Final = 2.0

ATTEMPTS: Final = Counter("hvchannel_hostd_session_attempts", "Times a guest was dialled.", registry=None)
ENDS: Final = Counter(
    "hvchannel_hostd_session_ends",
    "Attempts and sessions that ended, by the code of docs/sessions.md.",
    ["reason"],
    registry=None,
)
SENT: Final = Counter(
    "hvchannel_hostd_documents_sent", "Documents and tombstones sent, again too.", registry=None
)
SENT_BYTES: Final = Counter("hvchannel_hostd_document_bytes_sent", "Bytes of their contents.", registry=None)
ACKS: Final = Counter("hvchannel_hostd_acks", "Guests' answers to documents.", ["outcome"], registry=None)
LATENCY: Final = Histogram(
    "hvchannel_hostd_ack_latency_seconds",
    "From the put of a document to the guest's answer that it is stored.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 60, 600, 3600),
    registry=None,
)
REPORTS: Final = Counter(
    "hvchannel_hostd_reports_stored", "Reports of guests, durable in the feed.", registry=None
)
REPORT_BYTES: Final = Counter("hvchannel_hostd_report_bytes", "Bytes of these.", registry=None)

_EVENTS: Final = (ATTEMPTS, ENDS, SENT, SENT_BYTES, ACKS, LATENCY, REPORTS, REPORT_BYTES)

for _outcome in Outcome:
    ACKS.labels(_outcome.value)


@contextlib.contextmanager
def attempt() -> Iterator[None]:
    """One attempt to have a session, from the dial to the session's end."""
    ATTEMPTS.inc()
    try:
        yield
    except Exception as error:
        ENDS.labels(ending(error, "").code.value).inc()
        raise


def acked(ack: Ack, put_unix_ns: int) -> None:
    """A guest's answer to a document that was put then."""
    ACKS.labels(ack.outcome.value).inc()
    if ack.outcome is Outcome.STORED:
        LATENCY.observe(max(0, time.time_ns() - put_unix_ns) / 1e9)


class Sessions(Protocol):
    """The VIFs that hostd serves."""

    def states(self) -> Mapping[str, SessionState]:
        """Where hostd stands with each."""


class HostdCollector(Collector):
    """Call `prepare` before each scrape."""

    def __init__(self, condition: Condition, tls: Tls | None = None, *, per_vif: bool = False) -> None:
        self.sessions: Sessions | None = None
        self._condition = condition
        self._tls = tls
        self._per_vif = per_vif
        self._pending: dict[str, int] = {}
        self._counted = -_PENDING_SECONDS

    def register(self, registry: CollectorRegistry) -> None:
        """This, and what is counted."""
        for metric in (*_EVENTS, self):
            registry.register(metric)

    async def prepare(self) -> None:
        """Counts the documents that are pending, unless that was done just now, or the feed does not answer."""
        feed, now = self._condition.feed, asyncio.get_running_loop().time()
        if feed is None or self.sessions is None or now - self._counted < _PENDING_SECONDS:
            return
        self._counted = now
        with contextlib.suppress(TimeoutError, FeedError):
            async with asyncio.timeout(_PATIENCE_SECONDS):
                self._pending = {vif: await _pending(feed, vif) for vif in self.sessions.states()}

    def collect(self) -> Iterator[Metric]:
        """See Collector."""
        condition, feed = self._condition, self._condition.feed
        states = self.sessions.states() if self.sessions is not None else {}
        tally = Tally(states.values())
        sessions = GaugeMetricFamily(
            "hvchannel_hostd_sessions", "VIFs by their session's state.", labels=("state",)
        )
        for state in SessionState:
            sessions.add_metric((state.value.lower(),), tally[state])
        yield sessions
        yield GaugeMetricFamily(
            "hvchannel_hostd_documents_pending",
            "Documents of attached VIFs that their guests have not given a final answer to; counted every 10 s.",
            value=sum(self._pending.values()),
        )
        yield GaugeMetricFamily(
            "hvchannel_hostd_feed_connected",
            "1: the feed is there.",
            value=feed is not None and not feed.away,
        )
        yield CounterMetricFamily(
            "hvchannel_hostd_feed_reconnects",
            "Times the feed was away and came back.",
            value=0 if feed is None else feed.reconnects,
        )
        yield GaugeMetricFamily(
            "hvchannel_hostd_controller_connected",
            "1: the controller tells which VIFs there are.",
            value=not condition.controller_away,
        )
        left = GaugeMetricFamily(
            "hvchannel_hostd_channel_certificate_seconds_left",
            "Until hostd's certificate expires; negative afterwards. Without TLS on the channel there is none.",
        )
        if self._tls is not None:
            left.add_metric((), self._tls.seconds_left)
        yield left
        if self._per_vif:
            yield from self._each(states)

    def _each(self, states: Mapping[str, SessionState]) -> Iterator[Metric]:
        ready = GaugeMetricFamily(
            "hvchannel_hostd_vif_session_ready",
            "1: the guest has all, changes follow at once.",
            labels=("vif",),
        )
        pending = GaugeMetricFamily(
            "hvchannel_hostd_vif_documents_pending", "Documents pending, by VIF.", labels=("vif",)
        )
        for vif, state in states.items():
            ready.add_metric((vif,), state is SessionState.READY)
            pending.add_metric((vif,), self._pending.get(vif, 0))
        yield from (ready, pending)


async def _pending(feed: Feed, vif: str) -> int:
    return sum(not delivery.settled for delivery in await feed.deliveries(vif))
