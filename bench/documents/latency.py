# SPDX-License-Identifier: Apache-2.0
"""From put to acknowledged, one document after the other: the control plane's process has put it, and has read in the
feed that the guest holds it durably."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from pathlib import Path

from hvchannel_daemons.feed.interface import Feed

WARM_UP = 20
"""Documents before those that count."""

_WITHIN = 30.0  # seconds, for one document


async def put_to_acknowledged(feed: Feed, vif: str, size: int, count: int) -> list[float]:
    """Seconds of each of `count` documents of one key. Raises FeedError, TimeoutError."""
    content, seconds = os.urandom(size), []
    for _ in range(WARM_UP + count):
        began = time.perf_counter()
        revision = await feed.put(vif, "latency", content, "application/octet-stream")
        await asyncio.wait_for(feed.settled(vif, "latency", revision), _WITHIN)
        seconds.append(time.perf_counter() - began)
    return seconds[WARM_UP:]


def disk(folder: Path, count: int) -> list[float]:
    """Seconds of one small write and its fdatasync. An acknowledged document has waited for two on the embedded feed:
    of the put and of the guest's store. Raises OSError."""
    seconds = []
    with (folder / "disk").open("wb", buffering=0) as file:
        for _ in range(count):
            began = time.perf_counter()
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
            seconds.append(time.perf_counter() - began)
    return seconds


def percentile(seconds: Sequence[float], percent: int) -> float:
    """Milliseconds within which so many per cent were done."""
    ordered = sorted(seconds)
    return 1e3 * ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
