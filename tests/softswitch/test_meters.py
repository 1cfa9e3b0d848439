# SPDX-License-Identifier: Apache-2.0
"""RFC 2698's marker, with a clock in hand."""

from __future__ import annotations

from hvchannel_softswitch.engine import MeterConfig
from hvchannel_softswitch.interpreter.meters import GREEN, RED, YELLOW, TwoRateMeter
from hypothesis import given
from hypothesis import strategies as st

SECOND = 1_000_000_000


def test_bursts_then_colours() -> None:
    meter = TwoRateMeter(MeterConfig(cir=100, cburst=200, pir=200, pburst=300), now=0)
    assert [meter.execute(100, 0) for _ in range(4)] == [GREEN, GREEN, YELLOW, RED]


def test_tokens_come_back_at_their_rates() -> None:
    meter = TwoRateMeter(MeterConfig(cir=100, cburst=100, pir=200, pburst=200), now=0)
    assert [meter.execute(100, 0) for _ in range(3)] == [GREEN, YELLOW, RED]
    assert meter.execute(100, SECOND // 2) == YELLOW  # 100 peak tokens are back, but 50 committed ones
    assert meter.execute(100, SECOND) == GREEN
    assert meter.execute(100, SECOND) == RED


def test_a_red_packet_takes_no_tokens() -> None:
    meter = TwoRateMeter(MeterConfig(cir=1, cburst=100, pir=1, pburst=100), now=0)
    assert meter.execute(101, 0) == RED
    assert meter.execute(100, 0) == GREEN


@given(
    gaps=st.lists(st.tuples(st.integers(0, SECOND), st.integers(1, 1500)), min_size=1, max_size=60),
    cir=st.integers(0, 10_000),
    cburst=st.integers(0, 5_000),
)
def test_green_never_exceeds_the_committed_rate(gaps: list[tuple[int, int]], cir: int, cburst: int) -> None:
    meter = TwoRateMeter(MeterConfig(cir=cir, cburst=cburst, pir=2 * cir + 1, pburst=2 * cburst), now=0)
    now = green = 0
    for gap, size in gaps:
        now += gap
        if meter.execute(size, now) == GREEN:
            green += size
        assert green * SECOND <= cburst * SECOND + cir * now
