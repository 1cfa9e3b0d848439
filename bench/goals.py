# SPDX-License-Identifier: Apache-2.0
"""What the xdp row is held to: ratios to the floor of any XDP switch, and to bmv2. Without a packet lost."""

from __future__ import annotations

from dataclasses import dataclass

from bench.turn import Measure


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound on a ratio: an upper one, or else a lower one."""

    bound: float
    upper: bool

    def met_by(self, ratio: float) -> bool:
        """Whether the ratio is within the bound."""
        return ratio <= self.bound if self.upper else ratio >= self.bound

    def __str__(self) -> str:
        return f"{'<=' if self.upper else '>='} {self.bound:g}x"


AGAINST_FLOOR = {
    Measure.P50: Goal(1.15, upper=True),
    Measure.P99: Goal(1.5, upper=True),
    Measure.PACKETS: Goal(0.85, upper=False),
    Measure.TCP: Goal(0.85, upper=False),
}
AGAINST_BMV2 = {
    Measure.P50: Goal(0.1, upper=True),
    Measure.P99: Goal(0.1, upper=True),
    Measure.PACKETS: Goal(5, upper=False),
    Measure.TCP: Goal(8, upper=False),
}
