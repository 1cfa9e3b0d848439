# SPDX-License-Identifier: Apache-2.0
"""The live view of a lab that is up: VIFs and their sessions, what the vSwitches decided, the processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hvchannel_lab import standing
from hvchannel_lab.standing import BAD, GOOD, Snapshot, Watcher
from hvchannel_lab.supervisor import Child, State, Supervisor
from hvchannel_lab.topology import Topology

_REFRESH = 1.0  # seconds


async def show(console: Console, topology: Topology, supervisor: Supervisor) -> None:
    """Until cancelled."""
    async with Watcher(topology) as watcher:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            while True:
                snapshot = await watcher.refresh()
                live.update(render(topology, snapshot, supervisor.children.values()), refresh=True)
                await asyncio.sleep(_REFRESH)


def render(topology: Topology, snapshot: Snapshot, children: Iterable[Child]) -> Group:
    """The whole view."""
    head = Text(f"lab {topology.name}, state in {topology.state}; Ctrl-C ends it and removes everything")
    parts: list[Any] = [
        head,
        standing.table(standing.rows(topology, snapshot)),
        _verdicts(topology, snapshot),
        _processes(children),
    ]
    if snapshot.silent:
        parts.append(Text(f"no answer from {', '.join(sorted(snapshot.silent))}", style=BAD))
    return Group(*parts)


def _verdicts(topology: Topology, snapshot: Snapshot) -> Table:
    """Verdicts that were given at least once, a column per vSwitch."""
    given = sorted({name for counts in snapshot.verdicts.values() for name, count in counts.items() if count})
    table = Table(
        "verdict (packets)", *topology.whos, title="what the vSwitches decided", title_justify="left"
    )
    for name in given:
        counts = [snapshot.verdicts.get(who, {}).get(name, 0) for who in topology.whos]
        table.add_row(name, *(str(count) if count else "-" for count in counts))
    return table


def _processes(children: Iterable[Child]) -> Table:
    """A row per part. A cell: the pid, and what is not as it should be."""
    parts: dict[str, list[Text]] = {}
    for child in children:
        parts.setdefault(child.program.who, []).append(_process(child))
    width = max((len(cells) for cells in parts.values()), default=0)
    table = Table("part", title="processes (pid)", title_justify="left", show_header=False)
    for who, cells in parts.items():
        table.add_row(who, *cells, *[""] * (width - len(cells)))
    return table


def _process(child: Child) -> Text:
    text = Text(f"{child.program.name} ")
    if child.state is State.RUNNING and child.process:
        text.append(str(child.process.pid), style=GOOD)
    else:
        text.append(child.state.value, style=BAD)
    if child.restarts:
        age = time.time() - child.since
        text.append(f", restarts {child.restarts}, the last {age:.0f} s ago", style=BAD)
    return text.append(f"\nlog {child.log_size() / 1000:.1f} kB", style="dim")
