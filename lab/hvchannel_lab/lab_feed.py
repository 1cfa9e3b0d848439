# SPDX-License-Identifier: Apache-2.0
"""A lab's feed from outside its daemons: wherever it is, asked from a thread that stands where it can be reached."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar

from hvchannel_daemons.feed import Feed, open_feed

from hvchannel_lab import enter
from hvchannel_lab.namespaces import NAMESPACES, inside
from hvchannel_lab.targets import FeedEngine
from hvchannel_lab.threads import in_thread
from hvchannel_lab.topology import TOPOLOGY_FILE, Topology

T = TypeVar("T")


def ask(topology: Topology, use: Callable[[Feed], Coroutine[Any, Any, T]]) -> Future[T]:
    """Opens the feed, awaits `use` of it, closes it. The outcome is the future's; FeedError among others."""

    async def opened() -> T:
        feed = await open_feed(topology.feed_at)
        try:
            return await use(feed)
        finally:
            await feed.close()

    return there(topology, opened)


def there(topology: Topology, work: Callable[[], Coroutine[Any, Any, T]]) -> Future[T]:
    """Does the work in a thread that stands where the feed can be reached. The outcome is the future's."""

    def run() -> T:
        nats = topology.control_plane
        # an event loop of this thread's own, all of whose sockets are made in the namespace
        with inside(nats.namespace) if nats else nullcontext():
            return asyncio.run(work())

    return in_thread(run)


def location(state: Path) -> str:
    """What `--feed` says of the lab in this directory."""
    return Topology.load(state).feed_at if _is_nats(state) else str(state / "feed.db")


def go_where_it_is(state: Path) -> None:
    """For a command that speaks to the lab's feed and to nothing else: its thread enters the control plane's namespace
    when the feed can be reached only there. Raises OSError."""
    if _is_nats(state) and (control_plane := Topology.load(state).control_plane):
        namespace = os.open(NAMESPACES / control_plane.namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            enter.set_namespace(namespace)
        finally:
            os.close(namespace)


def _is_nats(state: Path) -> bool:
    """Without making a Topology, which takes its time to load."""
    try:
        return bool(json.loads((state / TOPOLOGY_FILE).read_bytes()).get("feed_engine") == FeedEngine.NATS)
    except (OSError, ValueError):
        return False
