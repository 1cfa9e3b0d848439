# SPDX-License-Identifier: Apache-2.0
"""The live view of a lab that is up: VIFs and their sessions, what the vSwitches decided, the processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import grpc
from hvchannel_control.api import control_pb2 as control
from hvchannel_control.api import control_pb2_grpc
from hvchannel_daemons.feed.interface import Feed, FeedError, Session, SessionState
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hvchannel_lab import lab_feed
from hvchannel_lab.supervisor import Child, State, Supervisor
from hvchannel_lab.topology import Topology

_REFRESH = 1.0  # seconds
_FEED_SECONDS = 5.0
_GOOD, _BAD = "green", "bold red"


@dataclass
class Snapshot:
    """What was last heard of each part; a part that does not answer keeps its last word, and is named."""

    vifs: dict[str, list[control.Vif]] = field(default_factory=dict)  # by hypervisor
    sessions: dict[str, Session] = field(default_factory=dict)
    documents: dict[str, tuple[int, int]] = field(default_factory=dict)  # VIF: acknowledged, wanted
    verdicts: dict[str, dict[str, int]] = field(default_factory=dict)  # who: verdict: packets
    silent: set[str] = field(default_factory=set)


class Watcher:
    """Asks the parts of a lab how they are. An async context manager."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._channels: dict[str, grpc.aio.Channel] = {}
        self.snapshot = Snapshot()

    async def __aenter__(self) -> Watcher:
        for who in self._topology.whos:
            self._channels[who] = grpc.aio.insecure_channel(f"unix:{self._topology.control_socket(who)}")
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(channel.close() for channel in self._channels.values()))

    async def refresh(self) -> Snapshot:
        """Asks all of them at once; one that fails is in `silent`."""
        self.snapshot.silent = set()
        await asyncio.gather(self._ask_feed(), *(self._ask_controller(who) for who in self._channels))
        return self.snapshot

    async def _ask_feed(self) -> None:
        async def look(feed: Feed) -> None:
            self.snapshot.sessions = await feed.sessions()
            for vm in self._topology.vms:
                deliveries = await feed.deliveries(vm.vif)
                settled = sum(delivery.settled for delivery in deliveries)
                self.snapshot.documents[vm.vif] = settled, len(deliveries)

        try:
            async with asyncio.timeout(_FEED_SECONDS):
                await asyncio.wrap_future(lab_feed.ask(self._topology, look))
        except (FeedError, OSError):  # OSError: TimeoutError among others
            self.snapshot.silent.add("feed")

    async def _ask_controller(self, who: str) -> None:
        stub: Any = control_pb2_grpc.ControlStub(self._channels[who])
        try:
            status = await stub.GetStatus(control.GetStatusRequest(), timeout=_REFRESH)
            self.snapshot.verdicts[who] = {name: count.packets for name, count in status.verdicts.items()}
            if who in self._topology.hosts:
                answer = await stub.List(control.ListRequest(), timeout=_REFRESH)
                self.snapshot.vifs[who] = list(answer.vifs)
        except grpc.aio.AioRpcError:
            self.snapshot.silent.add(f"{who}/control")


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
    parts: list[Any] = [head, _vifs(snapshot), _verdicts(topology, snapshot), _processes(children)]
    if snapshot.silent:
        parts.append(Text(f"no answer from {', '.join(sorted(snapshot.silent))}", style=_BAD))
    return Group(*parts)


def _vifs(snapshot: Snapshot) -> Table:
    columns = ("VIF", "host", "MAC", "port", "VNI", "VLAN", "LIP", "vSwitch", "session", "documents acked")
    table = Table(*columns, title="VIFs", title_justify="left")
    for host, vif in sorted(
        ((host, vif) for host, vifs in snapshot.vifs.items() for vif in vifs), key=lambda one: one[1].port
    ):
        session = snapshot.sessions.get(vif.vif_id)
        acknowledged, wanted = snapshot.documents.get(vif.vif_id, (0, 0))
        table.add_row(
            *(vif.vif_id, host, vif.mac, str(vif.port), str(vif.vni), str(vif.vlan), vif.lip),
            control.Vif.State.Name(vif.state).lower(),
            _session(session),
            f"{acknowledged} of {wanted}",
        )
    return table


def _session(session: Session | None) -> Text:
    if session is None:
        return Text("none", style=_BAD)
    if session.state is SessionState.READY:
        return Text("ready", style=_GOOD)
    reason = f": {session.reason}" if session.reason else ""
    return Text(f"{session.state.value.lower()}{reason}", style=_BAD)


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
        text.append(str(child.process.pid), style=_GOOD)
    else:
        text.append(child.state.value, style=_BAD)
    if child.restarts:
        age = time.time() - child.since
        text.append(f", restarts {child.restarts}, the last {age:.0f} s ago", style=_BAD)
    return text.append(f"\nlog {child.log_size() / 1000:.1f} kB", style="dim")
