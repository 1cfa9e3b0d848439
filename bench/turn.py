# SPDX-License-Identifier: Apache-2.0
"""One turn of one route: everything that is measured of it, once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from bench.routes.route import Route
from bench.traffic import packet_rate, round_trip, stream
from bench.traffic.programs import TrafficError


class Measure(Enum):
    """What a figure is of: its title and unit."""

    P50 = ("round trip p50", "us")
    P99 = ("round trip p99", "us")
    PACKETS = ("packets/s received", "packets/s")
    TCP = (f"TCP goodput ({stream.TOOL})", "Mbit/s")

    @property
    def title(self) -> str:
        """With which its figures begin."""
        return self.value[0]

    @property
    def unit(self) -> str:
        """Of its figures."""
        return self.value[1]


@dataclass(frozen=True, slots=True)
class Turn:
    """What came of it. A measure is missing where it failed; `failures` says why, a line each."""

    values: dict[Measure, float]
    sent: int
    lost: int
    overflowed: int
    failures: tuple[str, ...]


def take(route: Route) -> Turn:
    """Round trips, then packets one way, then TCP."""
    values: dict[Measure, float] = {}
    failures: list[str] = []
    sent = lost = overflowed = 0

    def round_trips() -> None:
        measured = round_trip.measure(route)
        values.update({Measure.P50: measured.p50, Measure.P99: measured.p99})

    def packets() -> None:
        nonlocal sent, lost, overflowed
        measured = packet_rate.measure(route)
        values[Measure.PACKETS] = measured.per_second
        sent, lost, overflowed = measured.sent, measured.lost, measured.overflowed

    def tcp() -> None:
        values[Measure.TCP] = stream.measure(route)

    steps: tuple[Callable[[], None], ...] = (round_trips, packets, tcp)
    for step in steps:
        try:
            step()
        except TrafficError as error:  # a peer that is overrun must not cost the whole run
            failures.append(str(error))
    return Turn(values, sent, lost, overflowed, tuple(failures))
