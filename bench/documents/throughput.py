# SPDX-License-Identifier: Apache-2.0
"""Documents per second from hostd to guestd's durable store: through both vSwitches, and by the same two programs over
loopback.

hostd is held while the feed is filled, so that what is timed is the channel: from hostd's release to the last
acknowledgement in the feed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import grpc
from hvchannel_control.api import control_pb2, control_pb2_grpc
from hvchannel_daemons.feed.interface import Session, SessionState
from hvchannel_daemons.feed.sqlite import SqliteFeed
from hvchannel_lab.background import background_lab
from hvchannel_lab.installation import program_path
from hvchannel_lab.namespaces import command_in
from rich.console import Console

from bench.figures import Figure

SMALL = (500, 1024)  # documents, bytes each
LARGE = (4, 8 << 20)
VIF = "vm1"
LOOPBACK = "127.0.0.1"
_POLL = 0.01  # seconds
_WITHIN = 120.0  # seconds


def measure(progress: Console) -> list[Figure]:
    """Small documents per second, and the throughput of large ones. Raises BackgroundError, OSError, TimeoutError."""
    progress.print("  one VIF, many documents ...")
    with tempfile.TemporaryDirectory(prefix="hvc-bench-") as state:
        loopback = asyncio.run(_over_loopback(Path(state)))
        with background_lab(f"bench-{os.getpid()}", Path(state) / "lab", vms=1) as lab:
            switched = asyncio.run(_both(lab.topology.feed, lab.pid("host/hostd")))
    names = (f"documents/s of {SMALL[1]} bytes", f"document bytes/s, {LARGE[1] >> 20} MiB each")
    units = ("documents/s", "bytes/s")
    return [
        figure
        for name, unit, here, there in zip(names, units, switched, loopback, strict=True)
        for figure in (
            Figure(f"{name}, loopback without vSwitches", there, unit),
            Figure(f"{name}, both vSwitches", here, unit, "loopback without vSwitches", here / there),
        )
    ]


async def _both(feed_path: Path, hostd: int) -> tuple[float, float]:
    feed = await SqliteFeed.open(feed_path)
    try:
        documents = SMALL[0] / await _deliver(feed, feed_path, hostd, "small", *SMALL)
        bytes_ = LARGE[0] * LARGE[1] / await _deliver(feed, feed_path, hostd, "large", *LARGE)
        return documents, bytes_
    finally:
        await feed.close()


async def _deliver(feed: SqliteFeed, path: Path, hostd: int, key: str, count: int, size: int) -> float:
    """Seconds from hostd's release to the last acknowledgement."""
    await _ready(feed)
    _stop(hostd, path)
    try:
        revisions = {
            f"{key}/{number}": await feed.put(
                VIF, f"{key}/{number}", os.urandom(size), "application/octet-stream"
            )
            for number in range(count)
        }
    finally:
        os.kill(hostd, signal.SIGCONT)
    began = time.perf_counter()
    await asyncio.wait_for(
        asyncio.gather(*(feed.settled(VIF, name, revision) for name, revision in revisions.items())), _WITHIN
    )
    return time.perf_counter() - began


def _stop(hostd: int, feed: Path) -> None:
    """Between two of its writes: stopped within one it would keep all others waiting."""
    with closing(sqlite3.connect(feed, timeout=30, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        os.kill(hostd, signal.SIGSTOP)
        connection.execute("ROLLBACK")


async def _ready(feed: SqliteFeed) -> None:
    async with asyncio.timeout(_WITHIN):
        while not _is_ready((await feed.sessions()).get(VIF)):  # noqa: ASYNC110 (another process writes it)
            await asyncio.sleep(_POLL)


def _is_ready(session: Session | None) -> bool:
    return session is not None and session.state is SessionState.READY


class _Control(control_pb2_grpc.ControlServicer):
    """A controller that knows one VIF, at loopback."""

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[control_pb2.Event]:  # noqa: N802 (gRPC's name)
        vif = control_pb2.Vif(vif_id=VIF, lip=LOOPBACK, state=control_pb2.Vif.REALISED)
        yield control_pb2.Event(attached=vif)
        yield control_pb2.Event(synced=True)
        await asyncio.Event().wait()


@asynccontextmanager
async def _serving(socket: Path) -> AsyncIterator[None]:
    server = grpc.aio.server()
    control_pb2_grpc.add_ControlServicer_to_server(_Control(), server)  # type: ignore[abstract] # the rest is UNIMPLEMENTED
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    try:
        yield
    finally:
        await server.stop(None)


async def _over_loopback(state: Path) -> tuple[float, float]:
    control, feed, local = state / "control.sock", state / "feed.db", state / "guestd.sock"
    listen = f"{LOOPBACK}:2345"
    commands = (
        [
            program_path("guestd"),
            "run",
            "--listen",
            listen,
            "--state",
            str(state / "guestd"),
            "--socket",
            str(local),
        ],
        [program_path("hostd"), "--control", str(control), "--feed", str(feed), "--log-level", "error"],
    )
    async with _serving(control):
        running = [
            await asyncio.create_subprocess_exec(
                *command_in(None, command), stderr=asyncio.subprocess.DEVNULL
            )
            for command in commands
        ]
        try:
            return await _both(feed, running[1].pid)
        finally:
            for process in running:
                process.terminate()
                await process.wait()
