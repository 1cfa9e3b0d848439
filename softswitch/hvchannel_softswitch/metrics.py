# SPDX-License-Identifier: Apache-2.0
"""The switch's metrics (docs/metrics.md), read where they are counted whenever somebody scrapes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from hvchannel_softswitch.p4runtime.service import P4RuntimeService
from hvchannel_softswitch.switch import DataPath

_PORT = ("port", "interface")
_DIRECTION = (*_PORT, "direction")


class SwitchCollector(Collector):
    """The data path's and the P4Runtime server's."""

    def __init__(self, switch: DataPath[Any], service: P4RuntimeService) -> None:
        self._switch = switch
        self._service = service

    def collect(self) -> Iterator[Metric]:
        """See Collector."""
        yield from self._ports()
        yield from self._pipeline()
        yield from self._requests()
        yield from self._messages()

    def _ports(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("softswitch_port_up", "1: the port carries frames.", labels=_PORT)
        frames = CounterMetricFamily("softswitch_port_frames", "Frames received and sent.", labels=_DIRECTION)
        octets = CounterMetricFamily("softswitch_port_bytes", "Bytes of these.", labels=_DIRECTION)
        dropped = CounterMetricFamily(
            "softswitch_port_dropped_frames",
            "Frames that arrived and were not treated, or were to be sent and could not.",
            labels=_DIRECTION,
        )
        for number, state in self._switch.port_states().items():
            port, counted = (str(number), state.interface), state.statistics
            up.add_metric(port, state.is_up)
            frames.add_metric((*port, "receive"), counted.rx_frames)
            frames.add_metric((*port, "transmit"), counted.tx_frames)
            octets.add_metric((*port, "receive"), counted.rx_bytes)
            octets.add_metric((*port, "transmit"), counted.tx_bytes)
            dropped.add_metric((*port, "receive"), counted.rx_dropped)
            dropped.add_metric((*port, "transmit"), counted.tx_dropped)
        yield from (up, frames, octets, dropped)

    def _pipeline(self) -> Iterator[Metric]:
        engine, counts = self._switch.engine, self._service.counts
        kind = "none" if engine is None else engine.kind
        yield InfoMetricFamily(
            "softswitch_engine", "What runs the program: xdp, interpreter, or none yet.", {"engine": kind}
        )
        entries = GaugeMetricFamily(
            "softswitch_table_entries", "Entries, the program's own included.", labels=("table",)
        )
        sizes = GaugeMetricFamily(
            "softswitch_table_size_entries", "How many the table takes.", labels=("table",)
        )
        for table, (held, most) in ({} if engine is None else engine.occupancy()).items():
            entries.add_metric((table,), held)
            sizes.add_metric((table,), most)
        yield from (entries, sizes)
        yield _counter("softswitch_pipeline_commits", "Pipelines put in charge.", counts.commits)
        yield _counter(
            "softswitch_pipelines_refused",
            "SetForwardingPipelineConfig requests refused.",
            counts.refused_pipelines,
        )
        yield _counter(
            "softswitch_ring_lost_records",
            "Digests, packet-ins and parts of traces that the kernel had no room for (engine xdp).",
            0 if engine is None else engine.lost_records,
        )

    def _requests(self) -> Iterator[Metric]:
        counts = self._service.counts
        yield _counter("softswitch_write_requests", "P4Runtime Write requests.", counts.writes)
        yield _counter(
            "softswitch_write_requests_refused", "Of these, refused in part or whole.", counts.refused_writes
        )
        yield _counter("softswitch_updates", "Updates in Write requests.", counts.updates)
        yield _counter("softswitch_updates_refused", "Of these, not applied.", counts.refused_updates)
        yield _counter("softswitch_read_requests", "P4Runtime Read requests.", counts.reads)

    def _messages(self) -> Iterator[Metric]:
        counts, streams = self._service.counts, self._service.streams
        yield GaugeMetricFamily("softswitch_streams", "Open P4Runtime streams.", value=streams.open)
        yield _counter("softswitch_packet_ins", "Frames for the controller.", counts.packet_ins)
        yield _counter("softswitch_packet_outs", "Frames from the controller.", counts.packet_outs)
        yield _counter("softswitch_digests", "Digests of the data path.", counts.digests)
        yield _counter(
            "softswitch_stream_messages_dropped",
            "Packet-ins and digest lists dropped for want of a primary, or of room in its queue.",
            streams.dropped,
        )


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=value)
