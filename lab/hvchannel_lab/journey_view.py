# SPDX-License-Identifier: Apache-2.0
"""A journey for people: one table per VM, readable without colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hvchannel_lab.evidence import Element
from hvchannel_lab.journey import Journey


def show(console: Console, journeys: Sequence[Journey]) -> None:
    """Prints all of them."""
    for journey in journeys:
        console.print()
        console.print(_table(f"{journey.vm}: information on its way to the VM", journey.there))
        console.print()
        console.print(_table(f"{journey.vm}: the answer on its way back", journey.back))
        if journey.machine:
            console.print()
            console.print(_machine(f"{journey.vm}, by its own account", journey.machine))
    console.print()


def as_json(journeys: Sequence[Journey]) -> list[dict[str, Any]]:
    """The same for programs."""
    return [asdict(journey) for journey in journeys]


def _machine(title: str, said: Mapping[str, str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", show_header=False)
    for name, value in said.items():
        table.add_row(Text(name, style="dim"), Text(value, style="bold"))
    return table


def _table(title: str, elements: Sequence[Element]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", show_lines=True, expand=False)
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("what happens", ratio=3)
    table.add_column("what was found", ratio=6, overflow="fold")
    table.add_column("where", ratio=3, overflow="fold")
    for element in elements:
        found = Text("\n").join(
            Text.assemble((f"{name} ", "dim"), (value, "bold")) for name, value in element.found.items()
        )
        table.add_row(element.number, element.says, found, Text("\n".join(element.sources), style="dim"))
    return table
