# SPDX-License-Identifier: Apache-2.0
"""Documents per second of one hypervisor with 100 VIFs: put, delivered and acknowledged, all of them at once; and what
a session and a document cost whoever takes part (docs/scale.md)."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

from hvchannel_daemons.feed import Feed, open_feed
from hvchannel_lab.namespaces import inside

from bench.figures import Figure
from bench.scale import world
from bench.scale.hypervisor import CONTROL, HOSTD, NATS, NATS_MONITOR, FeedKind, Hypervisor, started
from bench.scale.runs import acknowledged, bring_up
from bench.scale.usage import Usage
from bench.scale.world import Guest

VIFS, EACH, BYTES = 100, 20, 1024
"""VIFs, documents for each, bytes of each."""

_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Spent:
    """Since the start of a run: CPU seconds by process, and the nats-server's messages and bytes, in and out."""

    cpu: dict[str, float]
    messages: int
    octets: int

    @classmethod
    def by(cls, hypervisor: Hypervisor) -> Spent:
        """Raises OSError."""
        cpu = {
            name: Usage.of(hypervisor.pids[name]).cpu
            for name in (CONTROL, HOSTD, NATS)
            if name in hypervisor.pids
        }
        if NATS not in cpu:
            return cls(cpu, 0, 0)
        monitor = HTTPConnection(NATS_MONITOR)
        monitor.request("GET", "/varz")
        told = json.load(monitor.getresponse())
        monitor.close()
        return cls(cpu, told["in_msgs"] + told["out_msgs"], told["in_bytes"] + told["out_bytes"])


def measure(built: world.World, feed: FeedKind) -> list[Figure]:
    """In a world of VIFS guests. Raises OSError, SwitchError, FeedError, TimeoutError."""
    guests = built.guests[:VIFS]
    with tempfile.TemporaryDirectory(prefix="hvc-bench-") as folder:  # noqa: SIM117
        with started(built, VIFS, Path(folder), feed) as hypervisor:
            # an event loop of its own, all of whose sockets are made where the feed's servers are
            with inside(built.hypervisor):
                return asyncio.run(_run(hypervisor, guests, feed))


async def _run(hypervisor: Hypervisor, guests: Sequence[Guest], kind: FeedKind) -> list[Figure]:
    feed = await open_feed(hypervisor.feed)
    try:
        before = Spent.by(hypervisor)
        await bring_up(hypervisor.control, feed, guests)
        ready = Spent.by(hypervisor)
        began = time.perf_counter()
        revisions = await asyncio.gather(*(_put(feed, guest) for guest in guests))
        put = [
            [(guest.vif, f"many/{number}", revision) for number, revision in enumerate(each)]
            for guest, each in zip(guests, revisions, strict=True)
        ]
        # A guest answers in the order of its documents: to ask for the last of each costs the feed little.
        await acknowledged(feed, [each[-1] for each in put], poll_seconds=_POLL_SECONDS)
        seconds = time.perf_counter() - began
        done = Spent.by(hypervisor)
        await acknowledged(feed, [one for each in put for one in each])
    finally:
        await feed.close()
    name = f"documents/s of {BYTES} bytes, {VIFS} VIFs, {kind} feed"
    return [
        Figure(name, len(guests) * EACH / seconds, "documents/s"),
        *_costs(f"{kind} feed, a VIF attached and READY", before, ready, len(guests)),
        *_costs(f"{kind} feed, a document put and acknowledged", ready, done, len(guests) * EACH),
    ]


def _costs(what: str, before: Spent, after: Spent, count: int) -> Iterator[Figure]:
    for name, seconds in after.cpu.items():
        yield Figure(f"{what}: CPU of {name}", 1e3 * (seconds - before.cpu[name]) / count, "ms")
    if NATS in after.cpu:
        yield Figure(f"{what}: NATS messages", (after.messages - before.messages) / count, "in and out")
        yield Figure(f"{what}: NATS bytes", (after.octets - before.octets) / count, "in and out")


async def _put(feed: Feed, guest: Guest) -> list[int]:
    content = os.urandom(BYTES)
    return [
        await feed.put(guest.vif, f"many/{number}", content, "application/octet-stream")
        for number in range(EACH)
    ]
