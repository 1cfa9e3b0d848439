# SPDX-License-Identifier: Apache-2.0
"""The summary of a run, a table per fault as docs/failures.md has it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from tests.chaos.rounds import Round

HEAD = (
    "| fault | rounds | recovery p50 s | p99 s | max s | frames lost, most | outage max s | violations |",
    "|---|--:|--:|--:|--:|--:|--:|--:|",
)


def line(one: Round) -> str:
    """A round, for people."""
    took = "did not recover" if one.recovery is None else f"recovered in {one.recovery:6.2f} s"
    lost = f", {one.lost} frames lost in {one.outage:.2f} s" if one.lost else ""
    return f"{one.number:4}  {one.fault:28} {one.target:16} {took}{lost}"


def table(rounds: Sequence[Round]) -> Iterator[str]:
    """Lines of Markdown."""
    yield from HEAD
    for fault in sorted({one.fault for one in rounds}):
        of = [one for one in rounds if one.fault == fault]
        times = sorted(one.recovery for one in of if one.recovery is not None)
        p50, p99, most = (f"{_at(times, share):.2f}" if times else "-" for share in (0.5, 0.99, 1.0))
        lost, outage = max(one.lost for one in of), max(one.outage for one in of)
        wrong = sum(bool(one.wrong) for one in of)
        yield f"| {fault} | {len(of)} | {p50} | {p99} | {most} | {lost} | {outage:.2f} | {wrong} |"


def _at(ordered: Sequence[float], share: float) -> float:
    """The smallest value that this share does not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
