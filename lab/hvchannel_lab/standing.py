# SPDX-License-Identifier: Apache-2.0
"""How the VIFs of a lab stand, on all its hypervisors: attachment, session, documents, by controllers and feed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from hvchannel_control.api import control_pb2 as control
from hvchannel_control.api import control_pb2_grpc
from hvchannel_daemons.feed.interface import Feed, FeedError, Session, SessionState
from rich.table import Table
from rich.text import Text

from hvchannel_lab import lab_feed
from hvchannel_lab.topology import Topology

GOOD, BAD = "green", "bold red"
_CONTROLLER_SECONDS = 1.0
_FEED_SECONDS = 5.0


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
            status = await stub.GetStatus(control.GetStatusRequest(), timeout=_CONTROLLER_SECONDS)
            self.snapshot.verdicts[who] = {name: count.packets for name, count in status.verdicts.items()}
            if who in self._topology.hosts:
                answer = await stub.List(control.ListRequest(), timeout=_CONTROLLER_SECONDS)
                self.snapshot.vifs[who] = list(answer.vifs)
        except grpc.aio.AioRpcError:
            self.snapshot.silent.add(f"{who}/control")


@dataclass(frozen=True)
class Row:
    """One VIF. What depends on an attachment is empty, or 0, where there is none."""

    vif: str
    host: str
    mac: str
    port: int
    vni: int
    vlan: int
    lip: str
    switch: str  # what the host vSwitch has of it: "realised", "pending"
    session: str
    reason: str
    acknowledged: int
    documents: int


def rows(topology: Topology, snapshot: Snapshot) -> list[Row]:
    """A row per attachment, and per VM that has none; by port."""
    found = [_row(vif.vif_id, snapshot, host, vif) for host, vifs in snapshot.vifs.items() for vif in vifs]
    attached = {row.vif for row in found}
    found += [_row(vm.vif, snapshot) for vm in topology.vms if vm.vif not in attached]
    ports = {vm.vif: vm.host_port for vm in topology.vms}
    return sorted(found, key=lambda row: (ports.get(row.vif, row.port), row.vif))


def _row(name: str, snapshot: Snapshot, host: str = "", vif: control.Vif | None = None) -> Row:
    vif = vif or control.Vif()
    session = snapshot.sessions.get(name)
    acknowledged, documents = snapshot.documents.get(name, (0, 0))
    return Row(
        vif=name,
        host=host,
        mac=vif.mac,
        port=vif.port,
        vni=vif.vni,
        vlan=vif.vlan,
        lip=vif.lip,
        switch=control.Vif.State.Name(vif.state).lower() if host else "",
        session=session.state.value if session else "",
        reason=session.reason if session else "",
        acknowledged=acknowledged,
        documents=documents,
    )


def table(found: Sequence[Row], title: str = "VIFs") -> Table:
    """For people."""
    columns = ("VIF", "host", "MAC", "port", "VNI", "VLAN", "LIP", "vSwitch", "session", "documents acked")
    shown = Table(*columns, title=title, title_justify="left")
    for row in found:
        shown.add_row(
            *(
                row.vif,
                row.host or "-",
                row.mac or "-",
                *(str(n or "-") for n in (row.port, row.vni, row.vlan)),
            ),
            *(row.lip or "-", row.switch or "-", _session(row)),
            f"{row.acknowledged} of {row.documents}",
        )
    return shown


def _session(row: Row) -> Text:
    if not row.session:
        return Text("none", style=BAD)
    if row.session == SessionState.READY:
        return Text("ready", style=GOOD)
    reason = f": {row.reason}" if row.reason else ""
    return Text(f"{row.session.lower()}{reason}", style=BAD)
