# SPDX-License-Identifier: Apache-2.0
"""What becomes of the turns: medians, ratios to the floor, and the goals of the xdp row."""

import pytest

from bench.figures import Figure
from bench.goals import Goal
from bench.routes.route import Route
from bench.switch_path import BMV2, FLOOR, XDP, figures_of
from bench.turn import Measure, Turn


def route(key: str) -> Route:
    return Route(key, f"route {key}", "hv", "vm", "169.254.1.10", "169.254.1.2")


def turn(value: float, lost: int = 0) -> Turn:
    return Turn(dict.fromkeys(Measure, value), sent=1000, lost=lost, overflowed=0, failures=())


def figures(**turns: list[Turn]) -> dict[tuple[str, str | None], Figure]:
    made = figures_of([route(key) for key in turns], turns)
    return {(figure.name, figure.peer): figure for figure in made}


@pytest.mark.parametrize(("goal", "met", "missed"), [(Goal(1.5, True), 1.5, 1.51), (Goal(5, False), 5, 4.9)])
def test_a_goal_is_met_up_to_its_bound(goal: Goal, met: float, missed: float) -> None:
    assert goal.met_by(met)
    assert not goal.met_by(missed)


def test_a_figure_is_the_median_beside_the_floors() -> None:
    made = figures(**{FLOOR: [turn(10), turn(10), turn(90)], "bridges": [turn(1), turn(20), turn(30)]})
    figure = made["round trip p50: route bridges", f"route {FLOOR}"]
    assert (figure.value, figure.ratio, figure.goal) == (20, 2, None)
    assert made[f"round trip p50: route {FLOOR}", None].value == 10


def test_the_xdp_row_alone_has_goals_against_the_floor_and_against_bmv2() -> None:
    made = figures(**{FLOOR: [turn(10)], BMV2: [turn(400)], XDP: [turn(11, lost=1)]})
    floor = made[f"round trip p50: route {XDP}", f"route {FLOOR}"]
    assert (floor.goal, floor.passed) == ("<= 1.15x", True)
    bmv2 = made[f"packets/s received: route {XDP}", f"route {BMV2}"]
    assert (bmv2.goal, bmv2.passed) == (">= 5x", False)
    lost = made[f"packets lost: route {XDP}", None]
    assert (lost.value, lost.goal, lost.passed) == (1, "none", False)
    assert all(figure.goal is None for (name, _), figure in made.items() if XDP not in name)


def test_a_measure_that_failed_in_one_round_is_the_median_of_the_others() -> None:
    failed = Turn({}, sent=0, lost=0, overflowed=0, failures=("no answer",))
    made = figures(**{FLOOR: [turn(10), failed], "bridges": [failed]})
    assert made[f"round trip p99: route {FLOOR}", None].value == 10
    assert not [name for name, _ in made if name == "round trip p99: route bridges"]
