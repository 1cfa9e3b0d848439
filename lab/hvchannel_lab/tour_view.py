# SPDX-License-Identifier: Apache-2.0
"""A tour for people, part by part, readable without colour; and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from hvchannel_daemons.status import show as status
from hvchannel_daemons.status.overview import Overview
from rich.console import Console
from rich.table import Table

from hvchannel_lab import journey_view
from hvchannel_lab.journey import Journey
from hvchannel_lab.tour import Delivered, Moved, Part, Shown


def show(console: Console, number: int, part: Part, shown: Shown) -> None:
    """Prints one part."""
    title = f"{number}. {part.title}"
    if isinstance(shown, Overview):
        console.print()
        console.print(title, style="bold")
        console.print(status.table(shown))
        return
    if isinstance(shown, Moved):
        _print(console, _moved(title, shown))
        console.print(
            f"{shown.vm} keeps its VIF id and MAC; its LIP was {shown.lip_before} at {shown.source} and is "
            f"{shown.lip_after} at {shown.destination}; its guestd ran through.\n"
            f"{shown.during.key} came once, {_milliseconds(shown.during.acknowledged_after)} after it was put: "
            f"{shown.during.answer}"
        )
        return
    if delivered := [one for one in shown if isinstance(one, Delivered)]:
        _print(console, _delivered(title, delivered))
    if journeys := [one for one in shown if isinstance(one, Journey)]:
        console.print()
        console.print(title, style="bold")
        journey_view.show(console, journeys)


def as_json(shown: Shown) -> Any:
    """One part for programs."""
    if isinstance(shown, Overview):
        return status.as_json(shown)
    return asdict(shown) if isinstance(shown, Moved) else [asdict(one) for one in shown]


def _print(console: Console, table: Table) -> None:
    table.title_style = "bold"
    console.print()
    console.print(table)


def _delivered(title: str, delivered: Sequence[Delivered]) -> Table:
    table = Table(title=title, title_justify="left")
    for column in ("VM", "on", "document", "put to acknowledged", "its answer"):
        table.add_column(column, justify="right" if column.startswith("put") else "left", overflow="fold")
    for one in delivered:
        document = f"{one.key} revision {one.revision}, {one.bytes} bytes"
        table.add_row(one.vm, one.host, document, _milliseconds(one.acknowledged_after), one.answer)
    return table


def _moved(title: str, moved: Moved) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("after", justify="right", no_wrap=True)
    table.add_column("what", overflow="fold")
    for step in moved.steps:
        table.add_row(_milliseconds(step.after), step.says)
    return table


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms"
