# SPDX-License-Identifier: Apache-2.0
"""The growth with the number of VIFs, as a table for people and as figures for JSON."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from bench.figures import Figure
from bench.scale.hypervisor import CONTROL, GUESTS, HOSTD, SWITCH
from bench.scale.runs import Row

READY_WITHIN, DELIVERED_WITHIN = 60.0, 5.0
"""Seconds, whatever the number of VIFs."""

_PROCESSES = (SWITCH, CONTROL, HOSTD, GUESTS)


def show(rows: Sequence[Row], console: Console) -> None:
    """Prints a line per number of VIFs, then one per process and number."""
    times = Table("VIFs", "attached s", "all READY s", "one document to all s", "the next one s")
    for row in rows:
        times.add_row(
            str(row.vifs),
            *(f"{s:.2f}" for s in (row.attached, row.ready, row.first_document, row.second_document)),
        )
    costs = Table(
        "process", "VIFs", "memory MB", "KB more per VIF", "descriptors", "threads", "CPU s", "idle CPU %"
    )
    for table in (times, costs):
        for column in table.columns[table is costs :]:
            column.justify = "right"
    for name in _PROCESSES:
        for row in rows:
            usage = row.usage[name]
            costs.add_row(
                *(name if row is rows[0] else "", str(row.vifs), f"{usage.memory / 1e6:.0f}"),
                *(_per_vif(rows[0], row, name), str(usage.descriptors), str(usage.threads)),
                *(f"{usage.cpu:.1f}", f"{100 * row.idle[name]:.1f}"),
            )
    console.print(times, costs)


def _per_vif(first: Row, row: Row, name: str) -> str:
    if row is first:
        return ""
    return f"{(row.usage[name].memory - first.usage[name].memory) / (row.vifs - first.vifs) / 1e3:.0f}"


def figures(rows: Sequence[Row]) -> list[Figure]:
    """The same, one by one; of the largest number what it is held to."""
    found = []
    for row in rows:
        largest = row is rows[-1]
        for name, seconds, within in (
            ("attached and READY", row.ready, READY_WITHIN),
            ("one document to all, acknowledged by all", row.first_document, DELIVERED_WITHIN),
        ):
            found.append(
                Figure(
                    f"{row.vifs} VIFs: {name}",
                    seconds,
                    "s",
                    goal=f"< {within:g} s" if largest else None,
                    passed=seconds < within if largest else None,
                )
            )
        for process in _PROCESSES:
            usage = row.usage[process]
            found += [
                Figure(f"{row.vifs} VIFs: {process}, memory", usage.memory / 1e6, "MB"),
                Figure(f"{row.vifs} VIFs: {process}, descriptors", usage.descriptors, ""),
                Figure(f"{row.vifs} VIFs: {process}, idle", 100 * row.idle[process], "% of one core"),
            ]
    return found
