# SPDX-License-Identifier: Apache-2.0
"""guestd's metrics (docs/metrics.md). What happens is counted here as it happens, what is so is read when scraped."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from hvchannel_daemons.channel import channel_pb2 as pb
from hvchannel_daemons.channel.tls import Tls

if TYPE_CHECKING:  # they count here
    from hvchannel_daemons.guestd.channel_service import ChannelService
    from hvchannel_daemons.guestd.store import GuestStore

_OUTCOMES: Final = {
    number: name.lower()
    for name, number in pb.DocumentAck.Outcome.items()
    if number != pb.DocumentAck.OUTCOME_UNSPECIFIED
}

SESSIONS: Final = Counter("hvchannel_guestd_sessions", "Sessions that the hypervisor began.", registry=None)
REFUSED: Final = Counter("hvchannel_guestd_sessions_refused", "Calls that did not become one.", registry=None)
ACKS: Final = Counter("hvchannel_guestd_acks", "Answers to documents.", ["outcome"], registry=None)
REPORTS_SENT: Final = Counter("hvchannel_guestd_reports_sent", "Reports sent, again too.", registry=None)
REPORTS_ACKED: Final = Counter(
    "hvchannel_guestd_reports_acked", "Reports that are durable at the hypervisor.", registry=None
)

_EVENTS: Final = (SESSIONS, REFUSED, ACKS, REPORTS_SENT, REPORTS_ACKED)

for _name in _OUTCOMES.values():
    ACKS.labels(_name)


def acked(ack: pb.DocumentAck) -> None:
    """An answer on its way."""
    ACKS.labels(_OUTCOMES[ack.outcome]).inc()


class GuestdCollector(Collector):
    """Call `prepare` before each scrape."""

    def __init__(self, store: "GuestStore", channel: "ChannelService", tls: Tls | None = None) -> None:
        self._store = store
        self._channel = channel
        self._tls = tls
        self._documents = self._reports = 0

    def register(self, registry: CollectorRegistry) -> None:
        """This, and what is counted."""
        for metric in (*_EVENTS, self):
            registry.register(metric)

    async def prepare(self) -> None:
        """Asks the store. Raises DatabaseError."""
        _, self._documents, self._reports = await self._store.counts()

    def collect(self) -> Iterator[Metric]:
        """See Collector."""
        session = self._channel.current
        yield GaugeMetricFamily(
            "hvchannel_guestd_session_up", "1: the hypervisor is connected.", value=session is not None
        )
        yield GaugeMetricFamily(
            "hvchannel_guestd_session_synced",
            "1: and all that was wanted when it connected is here.",
            value=session is not None and session.synced,
        )
        yield GaugeMetricFamily("hvchannel_guestd_documents", "Documents held.", value=self._documents)
        yield GaugeMetricFamily(
            "hvchannel_guestd_reports_queued",
            "Reports the hypervisor has not taken yet.",
            value=self._reports,
        )
        left = GaugeMetricFamily(
            "hvchannel_guestd_channel_certificate_seconds_left",
            "Until guestd's certificate expires; negative afterwards. Without TLS on the channel there is none.",
        )
        if self._tls is not None:
            left.add_metric((), self._tls.seconds_left)
        yield left
        yield GaugeMetricFamily(
            "hvchannel_guestd_store_bytes", "Of the store's files.", value=self._store.file_bytes()
        )
