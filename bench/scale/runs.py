# SPDX-License-Identifier: Apache-2.0
"""From the first Attach to the last acknowledgement, for each number of VIFs; then what is left running costs."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
from hvchannel_control.api import control_pb2, control_pb2_grpc
from hvchannel_daemons.feed import Feed, SessionState, open_feed
from rich.console import Console

from bench.scale import world
from bench.scale.hypervisor import Hypervisor, started
from bench.scale.usage import Usage, allow_descriptors
from bench.scale.world import Guest, World

COUNTS = (10, 30, 100, 300, 1000)
"""VIFs."""

IDLE_SECONDS = 20.0
DOCUMENT_BYTES = 1024
KEY = "scale"
_AT_ONCE = 8  # Attach calls under way
_POLL_SECONDS = 0.05
_WITHIN_SECONDS = 120.0
_SETTLE_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Row:
    """Of one number of VIFs. Seconds; `idle`: of one second, how much each process computes while nothing happens."""

    vifs: int
    attached: float  # from the first Attach to the last one's answer
    ready: float  # from the first Attach until every session is READY
    first_document: float  # one put per VIF until all are acknowledged
    second_document: float  # the same again, of the same key
    usage: dict[str, Usage]
    idle: dict[str, float]


def measure(progress: Console, counts: Sequence[int]) -> list[Row]:
    """A row for each number of VIFs, smallest first. Raises OSError, SwitchError, TimeoutError, ValueError."""
    most = max(counts)
    allow_descriptors(3 * most + 1000)  # a link of the XDP program for every interface
    rows = []
    progress.print(f"  building a network of {most} guests ...")
    with world.built(f"hvscale-{os.getpid()}", most) as built:
        for vifs in sorted(counts):
            progress.print(f"  {vifs} VIFs ...")
            with tempfile.TemporaryDirectory(prefix="hvc-scale-") as folder:
                rows.append(_row(built, vifs, Path(folder)))
    return rows


def _row(built: World, vifs: int, folder: Path) -> Row:
    with started(built, vifs, folder) as hypervisor:
        return asyncio.run(_run(hypervisor, built.guests[:vifs]))


async def _run(hypervisor: Hypervisor, guests: Sequence[Guest]) -> Row:
    feed = await open_feed(hypervisor.feed)
    try:
        attached, ready = await bring_up(hypervisor.control, feed, guests)
        await asyncio.sleep(_SETTLE_SECONDS)
        first = await _deliver(feed, guests)
        second = await _deliver(feed, guests)
        await asyncio.sleep(_SETTLE_SECONDS)
        before = {name: Usage.of(pid) for name, pid in hypervisor.pids.items()}
        await asyncio.sleep(IDLE_SECONDS)
        usage = {name: Usage.of(pid) for name, pid in hypervisor.pids.items()}
    finally:
        await feed.close()
    idle = {name: (usage[name].cpu - before[name].cpu) / IDLE_SECONDS for name in usage}
    return Row(len(guests), attached, ready, first, second, usage, idle)


async def bring_up(control: Path, feed: Feed, guests: Sequence[Guest]) -> tuple[float, float]:
    """Attaches all. Seconds from the first Attach to the last one's answer, and until every session is READY. Raises
    TimeoutError."""
    async with asyncio.timeout(_WITHIN_SECONDS):
        await _in_sync(control)
        began = time.perf_counter()
        await _attach(control, guests)
        attached = time.perf_counter() - began
        await _all_ready(feed, len(guests))
        return attached, time.perf_counter() - began


async def _in_sync(control: Path) -> None:
    """The vSwitch has its program and its ports."""
    async with grpc.aio.insecure_channel(f"unix:{control}") as channel:
        stub: control_pb2_grpc.ControlAsyncStub = control_pb2_grpc.ControlStub(channel)
        while not (await stub.GetStatus(control_pb2.GetStatusRequest())).in_sync:  # noqa: ASYNC110 (another process)
            await asyncio.sleep(_POLL_SECONDS)


async def _attach(control: Path, guests: Sequence[Guest]) -> None:
    turns = asyncio.Semaphore(_AT_ONCE)
    async with grpc.aio.insecure_channel(f"unix:{control}") as channel:
        stub: control_pb2_grpc.ControlAsyncStub = control_pb2_grpc.ControlStub(channel)

        async def attach(guest: Guest) -> None:
            async with turns:
                await stub.Attach(
                    control_pb2.AttachRequest(
                        vif_id=guest.vif, mac=guest.mac, port=guest.port, vlan=guest.vlan, vni=guest.vni
                    )
                )

        await asyncio.gather(*(attach(guest) for guest in guests))


async def _all_ready(feed: Feed, count: int) -> None:
    while True:
        sessions = await feed.sessions()
        if sum(session.state is SessionState.READY for session in sessions.values()) == count:
            return
        await asyncio.sleep(_POLL_SECONDS)


async def _deliver(feed: Feed, guests: Sequence[Guest]) -> float:
    """Seconds from the first put until every guest has acknowledged its document."""
    content = os.urandom(DOCUMENT_BYTES)
    began = time.perf_counter()
    revisions = await asyncio.gather(
        *(feed.put(guest.vif, KEY, content, "application/octet-stream") for guest in guests)
    )
    await acknowledged(
        feed, [(guest.vif, KEY, revision) for guest, revision in zip(guests, revisions, strict=True)]
    )
    return time.perf_counter() - began


async def acknowledged(
    feed: Feed, documents: Sequence[tuple[str, str, int]], poll_seconds: float = _POLL_SECONDS / 5
) -> None:
    """Waits until each of these (VIF, key, revision) is. One is looked at after the other, so that to wait for many
    costs no more than to look at each once. Raises TimeoutError."""
    async with asyncio.timeout(_WITHIN_SECONDS):
        for vif, key, revision in documents:
            while True:
                delivery = await feed.delivery(vif, key)
                if delivery is not None and delivery.acknowledged >= revision:
                    break
                await asyncio.sleep(poll_seconds)
