# SPDX-License-Identifier: Apache-2.0
"""Documents per second of one hypervisor with 100 VIFs: put, delivered and acknowledged, all of them at once."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from hvchannel_daemons.feed import Feed, open_feed
from hvchannel_lab.namespaces import inside

from bench.scale import world
from bench.scale.hypervisor import FeedKind, Hypervisor, started
from bench.scale.measure import acknowledged, bring_up
from bench.scale.world import Guest

VIFS, EACH, BYTES = 100, 20, 1024
"""VIFs, documents for each, bytes of each."""


def documents_per_second(built: world.World, feed: FeedKind) -> float:
    """In a world of VIFS guests. Raises OSError, SwitchError, FeedError, TimeoutError."""
    guests = built.guests[:VIFS]
    with tempfile.TemporaryDirectory(prefix="hvc-bench-") as folder:  # noqa: SIM117
        with started(built, VIFS, Path(folder), (), feed) as hypervisor:
            # an event loop of its own, all of whose sockets are made where the feed's servers are
            with inside(built.hypervisor):
                return asyncio.run(_run(hypervisor, guests))


async def _run(hypervisor: Hypervisor, guests: Sequence[Guest]) -> float:
    feed = await open_feed(hypervisor.feed)
    try:
        await bring_up(hypervisor.control, feed, guests)
        began = time.perf_counter()
        revisions = await asyncio.gather(*(_put(feed, guest) for guest in guests))
        await acknowledged(
            feed,
            [
                (guest.vif, f"many/{number}", revision)
                for guest, each in zip(guests, revisions, strict=True)
                for number, revision in enumerate(each)
            ],
        )
        return len(guests) * EACH / (time.perf_counter() - began)
    finally:
        await feed.close()


async def _put(feed: Feed, guest: Guest) -> list[int]:
    content = os.urandom(BYTES)
    return [
        await feed.put(guest.vif, f"many/{number}", content, "application/octet-stream")
        for number in range(EACH)
    ]
