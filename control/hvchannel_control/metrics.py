# SPDX-License-Identifier: Apache-2.0
"""The controller's metrics (docs/metrics.md), read where they are whenever somebody scrapes them."""

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from hvchannel_control.controller import Controller

_STATES = {True: "realised", False: "pending"}


class ControllerCollector(Collector):
    """Verdicts are as last read: await `controller.vswitch.read_verdicts()` before."""

    def __init__(self, controller: Controller, *, per_vif: bool = False) -> None:
        self._controller = controller
        self._per_vif = per_vif

    def collect(self) -> Iterator[Metric]:
        """See Collector."""
        yield InfoMetricFamily(
            "hvchannel_control",
            "The controller's profile: host or guest.",
            {"profile": self._controller.profile},
        )
        yield from self._vifs()
        yield from self._switch()
        yield from self._counts()

    def _vifs(self) -> Iterator[Metric]:
        realised = self._controller.realised()
        used, total = self._controller.leases
        count = Counter(realised.values())
        vifs = GaugeMetricFamily(
            "hvchannel_control_vifs", "Attached VIFs: does the vSwitch hold them?", labels=("state",)
        )
        for is_realised, state in _STATES.items():
            vifs.add_metric((state,), count[is_realised])
        yield vifs
        yield GaugeMetricFamily("hvchannel_control_leases_used", "Leased LIPs.", value=used)
        yield GaugeMetricFamily("hvchannel_control_leases_limit", "LIPs of the pool.", value=total)
        if self._per_vif:
            each = GaugeMetricFamily(
                "hvchannel_control_vif_realised", "1: the vSwitch holds the VIF.", labels=("vif",)
            )
            for vif, is_realised in realised.items():
                each.add_metric((vif,), is_realised)
            yield each

    def _switch(self) -> Iterator[Metric]:
        state = self._controller.vswitch.state
        yield GaugeMetricFamily(
            "hvchannel_control_switch_connected", "1: the vSwitch answers.", value=state.connected
        )
        yield GaugeMetricFamily(
            "hvchannel_control_switch_in_sync",
            "1: the vSwitch's tables were as wanted when last read back.",
            value=state.in_sync,
        )
        yield CounterMetricFamily(
            "hvchannel_control_reconciliations",
            "Rounds of read back, diff, write.",
            value=state.reconciliations,
        )
        yield CounterMetricFamily("hvchannel_control_writes", "Updates written in them.", value=state.writes)

    def _counts(self) -> Iterator[Metric]:
        packets = CounterMetricFamily(
            "hvchannel_control_verdict_packets", "Packets by the vSwitch's verdict.", labels=("verdict",)
        )
        octets = CounterMetricFamily(
            "hvchannel_control_verdict_bytes", "Bytes of these.", labels=("verdict",)
        )
        for verdict, count in self._controller.vswitch.state.verdicts.items():
            packets.add_metric((verdict,), count.packets)
            octets.add_metric((verdict,), count.bytes)
        digests = CounterMetricFamily(
            "hvchannel_control_digests", "Drops that the vSwitch reported by a digest.", labels=("digest",)
        )
        for digest, reported in self._controller.digests.items():
            digests.add_metric((digest,), reported)
        yield from (packets, octets, digests)
