# SPDX-License-Identifier: Apache-2.0
"""How soon a document put at the control plane is acknowledged by the guest, beside other ways to bring one there, and
how many there are per second."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from hvchannel_lab import lab_feed
from hvchannel_lab.background import background_lab
from hvchannel_lab.targets import FeedEngine
from hvchannel_lab.topology import DEFAULT_TRACE_LIMIT
from rich.console import Console

from bench.documents import latency, many, peers, throughput
from bench.figures import Figure
from bench.scale import world
from bench.scale.hypervisor import FeedKind

SIZES = ((1024, 300), (64 << 10, 100))
"""Bytes of a document, and how many are put one after the other."""

POLLS = 20
"""Documents by the way that takes half a second each."""

GOAL_MS = 3.0
"""Milliseconds, p50 of small documents on the embedded feed."""

_EMBEDDED, _NATS = "hvchannel, embedded feed", "hvchannel, NATS feed"
_BUSY = "hvchannel, embedded feed, in a lab that traces packets and answers documents"
_LABS = (
    (_EMBEDDED, FeedEngine.SQLITE, False),
    (_BUSY, FeedEngine.SQLITE, True),
    (_NATS, FeedEngine.NATS, False),
)
"""Ways through the channel: name, feed, and whether as `make up` has it: the vSwitches write each packet down, and a
program in the VM answers each document while the next is put. Beside the other ways, which do neither, nor do we."""

_GRPC, _POLLING = "plain gRPC call over a bare veth", "HTTP polled once a second over a bare veth"

Latencies = dict[tuple[str, int], list[float]]
"""Seconds of each document, by the way it came and its size."""


def measure(progress: Console) -> list[Figure]:
    """All of it, side by side. Raises BackgroundError, OSError, SwitchError, FeedError, TimeoutError."""
    found: Latencies = {}
    with tempfile.TemporaryDirectory(prefix="hvc-bench-") as state:
        progress.print("  other ways to bring a document ...")
        _over_bare_veth(Path(state), found)
        for number, (name, feed, busy) in enumerate(_LABS):
            if feed is FeedEngine.NATS and not _nats_server():
                progress.print("  nats-server is not here: apt-get install nats-server")
                continue
            progress.print(f"  {name} ...")
            folder = Path(state) / f"lab{number}"
            trace_limit = DEFAULT_TRACE_LIMIT if busy else 1
            with background_lab(
                f"bench-{os.getpid()}",
                folder,
                vms=1,
                feed_engine=feed,
                trace_limit=trace_limit,
                workload=busy,
            ) as lab:
                for size, count in SIZES:
                    put = partial(latency.put_to_acknowledged, vif=throughput.VIF, size=size, count=count)
                    found[name, size] = lab_feed.ask(lab.topology, put).result()
        synced = latency.disk(Path(state), SIZES[0][1])
    floor = [
        Figure(
            f"one fdatasync of the disk, p{percent} (put to acknowledged: two)",
            latency.percentile(synced, percent),
            "ms",
        )
        for percent in (50, 99)
    ]
    return [*_latencies(found), *floor, *_with_many(progress), *throughput.measure(progress)]


def _over_bare_veth(state: Path, found: Latencies) -> None:
    folder = state / "peers"
    folder.mkdir()
    with peers.bare_veth(folder) as topology:
        by_size = peers.by_grpc(topology, folder, SIZES)
        found |= {(_GRPC, size): seconds for (size, _), seconds in zip(SIZES, by_size, strict=True)}
        found[_POLLING, SIZES[0][0]] = peers.by_polling(topology, folder, SIZES[0][0], POLLS)


def _latencies(found: Latencies) -> Iterator[Figure]:
    for size, _ in SIZES:
        for percent in (50, 99):
            peer = latency.percentile(found[_GRPC, size], percent)
            for (name, own_size), seconds in found.items():
                if own_size != size:
                    continue
                value = latency.percentile(seconds, percent)
                held = name == _EMBEDDED and size == SIZES[0][0] and percent == 50
                what = "delivered" if name in (_GRPC, _POLLING) else "put to acknowledged"
                yield Figure(
                    f"{what}, {size >> 10} KiB, p{percent}: {name}",
                    value,
                    "ms",
                    None if name == _GRPC else _GRPC,
                    None if name == _GRPC else value / peer,
                    f"< {GOAL_MS:g} ms" if held else None,
                    value < GOAL_MS if held else None,
                )


def _with_many(progress: Console) -> Iterator[Figure]:
    progress.print(f"  {many.VIFS} VIFs ...")
    with world.built(f"hvmany-{os.getpid()}", many.VIFS) as built:
        for feed in FeedKind:
            if feed is FeedKind.NATS and not _nats_server():
                continue
            yield from many.measure(built, feed)


def _nats_server() -> str | None:
    return shutil.which("nats-server") or shutil.which("nats-server", path="/usr/sbin")
