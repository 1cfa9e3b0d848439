# SPDX-License-Identifier: Apache-2.0
"""One hypervisor with many VIFs, real but for its guests' vSwitches: how long until all are ready, how long until all
hold a document, and what each process takes for it (docs/scale.md)."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from bench.figures import Figure
from bench.scale import report, runs
from bench.scale.runs import COUNTS
from bench.scale.world import MOST

__all__ = ["COUNTS", "counts_of", "measure"]


def counts_of(text: str) -> list[int]:
    """Numbers of VIFs from "10,100". Raises ValueError, which says what is wrong."""
    try:
        counts = sorted({int(word) for word in text.split(",")})
    except ValueError:
        raise ValueError(f"{text!r} is not a list of numbers (such as 10,100,1000)") from None
    for count in counts:
        if not 1 <= count <= MOST:
            raise ValueError(f"{count} VIFs: one host vSwitch takes 1 to {MOST} here")
    return counts


def measure(progress: Console, console: Console, counts: Sequence[int]) -> list[Figure]:
    """Prints the growth, and returns it. Raises OSError, SwitchError."""
    rows = runs.measure(progress, counts)
    report.show(rows, console)
    return report.figures(rows)
