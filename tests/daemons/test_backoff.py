# SPDX-License-Identifier: Apache-2.0
"""Pauses between attempts: their bounds, their growth, their spread, and what a fake clock makes of the penalty."""

import statistics

import pytest
from hvchannel_daemons.hostd import backoff
from hvchannel_daemons.hostd.backoff import Damper, pace, spread
from hvchannel_daemons.hostd.main import app
from hvchannel_daemons.hostd.session import Settings
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

LASTED = st.floats(0, 60)
AWAY = st.floats(0, 600)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@given(st.lists(st.tuples(LASTED, AWAY)), st.integers(1, 5000))
def test_penalty_and_pauses_stay_in_their_bounds(sessions: list[tuple[float, float]], vifs: int) -> None:
    clock = Clock()
    damper = Damper(lambda: vifs, clock)
    for lasted, away in sessions:
        clock.now += away + lasted
        pause = damper.ended(lasted)
        assert 0 <= damper.penalty <= backoff.PENALTY_MOST
        if lasted >= backoff.STABLE_SECONDS:
            assert not pause.damped, "a session that was stable is no flap"
        if pause.damped:
            assert damper.penalty >= backoff.SUPPRESS_AT
            assert 0.5 <= pause.seconds <= backoff.LONGEST_DAMPED_SECONDS
        else:
            assert 0 < pause.seconds <= backoff.FIRST_SECONDS + spread(vifs), "it is dialled at once"


def test_a_session_that_keeps_closing_is_damped_more_and_more_and_forgiven_in_time() -> None:
    clock = Clock()
    damper = Damper(clock=clock)
    pauses = [damper.ended(0) for _ in range(8)]
    assert [pause.damped for pause in pauses] == [False, False, True, True, True, True, True, True]
    steps = [min(2 ** (n - backoff.SUPPRESS_AT), backoff.LONGEST_DAMPED_SECONDS) for n in range(3, 9)]
    for pause, step in zip(pauses[2:], steps, strict=True):
        assert step / 2 <= pause.seconds <= step
    before = damper.penalty
    clock.now += backoff.HALF_LIFE_SECONDS
    assert damper.penalty == pytest.approx(before / 2)
    clock.now += 3 * backoff.HALF_LIFE_SECONDS
    assert not damper.ended(0).damped


@given(st.lists(LASTED, max_size=20), LASTED)
def test_one_flap_more_never_makes_the_penalty_smaller(before: list[float], last: float) -> None:
    clock = Clock()
    damper, other = Damper(clock=clock), Damper(clock=clock)
    for lasted in before:
        clock.now += lasted
        damper.ended(lasted)
        other.ended(lasted)
    other.ended(0)
    clock.now += last
    assert other.penalty >= damper.penalty


@given(st.integers(1, 100_000))
def test_failed_attempts_are_repeated_the_slower_the_more_vifs_there_are(vifs: int) -> None:
    damper = Damper(lambda: vifs)
    pauses = [damper.failed().seconds for _ in range(16)]
    assert all(pause <= pace(vifs) for pause in pauses)
    assert pauses[0] <= backoff.FIRST_SECONDS
    assert pauses[-1] >= pace(vifs) / 2
    assert 1 <= pace(vifs) <= 60
    assert vifs / pace(vifs) <= 100.001 or pace(vifs) == 60


def test_the_pace_is_a_second_for_a_hundred_and_ten_for_a_thousand() -> None:
    assert [pace(vifs) for vifs in (0, 1, 100, 200, 1000, 10_000)] == [1, 1, 1, 2, 10, 60]


def test_a_thousand_vifs_do_not_come_at_once() -> None:
    """After a restart, and after all lost their sessions together."""
    for came in (
        [Damper(lambda: 1000).first().seconds for _ in range(1000)],
        [Damper(lambda: 1000).ended(60).seconds for _ in range(1000)],
    ):
        in_one_second = max(sum(t <= pause < t + 1 for pause in came) for t in range(6))
        assert in_one_second < 300
        assert statistics.fmean(came) < 3, "nor do they take long"
    assert Damper(lambda: 1).first().seconds < 0.01, "one alone does not wait"


def test_the_heartbeat_follows_the_number_of_vifs_unless_it_is_given() -> None:
    auto, fixed = Settings(heartbeat_seconds=None), Settings(heartbeat_seconds=0.5)
    assert [auto.for_vifs(vifs).heartbeat for vifs in (1, 100, 1000)] == [1, 1, 10]
    assert fixed.for_vifs(1000).heartbeat == 0.5


@pytest.mark.parametrize("text", ["0.01", "61", "often", "nan"])
def test_a_heartbeat_that_is_none_is_explained(text: str) -> None:
    failed = CliRunner().invoke(app, ["--control", "/x", "--feed", "/y", "--heartbeat", text])
    assert (failed.exit_code, failed.stderr.count("\n")) == (2, 1)
    assert f"--heartbeat '{text}' is not valid (valid: 0.1 to 60 seconds, or auto)" in failed.stderr
