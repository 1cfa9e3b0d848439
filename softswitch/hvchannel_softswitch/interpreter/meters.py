# SPDX-License-Identifier: Apache-2.0
"""A two-rate three-colour marker, colour-blind (RFC 2698 section 3)."""

from __future__ import annotations

from hvchannel_softswitch.engine import MeterConfig

GREEN, YELLOW, RED = 0, 1, 2

_NANO = 1_000_000_000


class TwoRateMeter:
    """Two token buckets, full at first. Tokens are kept in billionths, so that nanoseconds times a rate adds
    up exactly."""

    __slots__ = ("_committed", "_last", "_peak", "config")

    def __init__(self, config: MeterConfig, now: int) -> None:
        """`now` in nanoseconds, of the clock that `execute` will be given."""
        self.config = config
        self._committed = config.cburst * _NANO
        self._peak = config.pburst * _NANO
        self._last = now

    def execute(self, amount: int, now: int) -> int:
        """The colour of a packet of `amount` (bytes, or 1 where packets are metered) at `now`, and takes its
        tokens."""
        config = self.config
        elapsed = now - self._last
        self._last = now
        cost = amount * _NANO
        committed = min(self._committed + elapsed * config.cir, config.cburst * _NANO)
        peak = min(self._peak + elapsed * config.pir, config.pburst * _NANO)
        if peak < cost:
            colour = RED
        elif committed < cost:
            peak -= cost
            colour = YELLOW
        else:
            peak -= cost
            committed -= cost
            colour = GREEN
        self._committed, self._peak = committed, peak
        return colour
