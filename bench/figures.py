# SPDX-License-Identifier: Apache-2.0
"""What a benchmark reports, as a table for people and as JSON for comparison between runs."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value. `peer`: whose value it is compared with, `ratio`: value / peer's value; None: no peer.
    `goal`: what it is held to, and whether it `passed`; None: nothing."""

    name: str
    value: float
    unit: str
    peer: str | None = None
    ratio: float | None = None
    goal: str | None = None
    passed: bool | None = None


def machine() -> dict[str, str | int]:
    """What the figures were measured on."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count() or 0,
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def show(figures: list[Figure], console: Console) -> None:
    """Prints the table, and the machine under it."""
    table = Table("measured", "value", "unit", "compared with", "ratio", "goal")
    for column in (1, 4):
        table.columns[column].justify = "right"
    for figure in figures:
        ratio = "" if figure.ratio is None else f"{figure.ratio:.3g}"
        goal = "" if figure.goal is None else f"{figure.goal}: {'pass' if figure.passed else 'miss'}"
        table.add_row(figure.name, _number(figure.value), figure.unit, figure.peer or "", ratio, goal)
    console.print(table)
    console.print(", ".join(f"{name} {value}" for name, value in machine().items()), highlight=False)


def _number(value: float) -> str:
    return f"{value:.1f}" if 0 < value < 100 else f"{value:,.0f}"


def write(figures: list[Figure], path: Path) -> None:
    """Writes {"machine": {...}, "figures": [{name, value, unit, peer, ratio, goal, passed}, ...]}. Raises OSError."""
    document = {"machine": machine(), "figures": [asdict(figure) for figure in figures]}
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
