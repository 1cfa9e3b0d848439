# SPDX-License-Identifier: Apache-2.0
"""hostd's own socket: its health, its log level, and how it says that it cannot have it."""

import asyncio
from pathlib import Path

import pytest
from hvchannel_daemons.hostd import daemon
from hvchannel_telemetry.client import ProcessClient
from hvchannel_telemetry.private_socket import SocketError


def _options(tmp_path: Path) -> daemon.Options:
    return daemon.Options(
        tmp_path / "control.sock", str(tmp_path / "feed.db"), socket=tmp_path / "hostd.sock"
    )


def _health(socket: Path) -> dict[str, str]:
    with ProcessClient(socket) as client:
        return client.health()


async def _until(task: "asyncio.Task[None]", socket: Path) -> None:
    while not socket.exists():  # noqa: ASYNC240
        assert not task.done()
        await asyncio.sleep(0.01)


async def test_it_says_what_hostd_waits_for(tmp_path: Path) -> None:
    stop, options = asyncio.Event(), _options(tmp_path)
    assert options.socket is not None
    task = asyncio.create_task(daemon.run(options, stop))
    await _until(task, options.socket)
    for _ in range(1000):
        health = await asyncio.to_thread(_health, options.socket)
        if not health["feed"]:
            break
        await asyncio.sleep(0.01)
    assert health["feed"] == ""
    assert health["controller"]
    stop.set()
    await task
    assert not options.socket.exists()


async def test_a_socket_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    options = _options(tmp_path)
    assert options.socket is not None
    options.socket.write_text("a file")
    with pytest.raises(SocketError, match=r"hostd\.sock exists and is not a socket"):
        await daemon.run(options, asyncio.Event())
