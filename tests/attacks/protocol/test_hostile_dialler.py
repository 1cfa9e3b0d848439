# SPDX-License-Identifier: Apache-2.0
"""Whoever may dial guestd, which is the hypervisor alone, and floods it: guestd lives, in bounds, and serves on."""

import asyncio
import contextlib
from pathlib import Path

import pytest
from hvchannel_daemons.limits import MIB
from hyperframe.frame import (
    ContinuationFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.attacks.protocol.world import World, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = SettingsFrame(0).serialize()
RESETS = [(HeadersFrame(n, b"\x83", flags=["END_HEADERS"]), RstStreamFrame(n, 8)) for n in range(1, 4000, 2)]

FLOODS = {
    "nothing": b"",
    "garbage": bytes(range(256)) * 256,
    "preface, garbage": PREFACE + bytes(range(256)) * 256,
    "settings": PREFACE + SETTINGS * 8000,
    "pings": PREFACE + SETTINGS + PingFrame(0, bytes(8)).serialize() * 8000,
    "windows": PREFACE + SETTINGS + WindowUpdateFrame(0, 1).serialize() * 8000,
    "priorities": PREFACE + SETTINGS + PriorityFrame(3, depends_on=1, stream_weight=1).serialize() * 8000,
    "rapid reset": PREFACE + SETTINGS + b"".join(a.serialize() + b.serialize() for a, b in RESETS),
    "continuations": PREFACE
    + SETTINGS
    + HeadersFrame(1, b"\x83").serialize()
    + ContinuationFrame(1, b"\x00\x01x\x7f" + b"y" * 127).serialize() * 8000,
}


async def test_floods_at_guestd(world: World) -> None:
    """All at once, as often as they are hung up on, while the honest hypervisor's session goes on."""
    pid = world.guestd.popen.pid  # type: ignore[attr-defined]
    before, rounds = memory(pid), dict.fromkeys(FLOODS, 0)

    async def flood(name: str) -> None:
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.11", world.port)
                writer.write(FLOODS[name])
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.2):
                        await writer.drain()
                writer.transport.abort()
            rounds[name] += 1
            await asyncio.sleep(0.01)

    flooding = [asyncio.create_task(flood(name)) for name in FLOODS]
    try:
        await eventually(lambda: done(rounds), "each ten times")
        await world.honest_is_served(10)
    finally:
        for task in flooding:
            task.cancel()
        await asyncio.gather(*flooding, return_exceptions=True)
    assert world.guestd.popen.poll() is None  # type: ignore[attr-defined]
    assert memory(pid) - before < 64 * MIB
    assert "Traceback" not in world.honest_log.read_text()


async def done(rounds: dict[str, int]) -> bool:
    return all(count >= 10 for count in rounds.values())


def memory(pid: int) -> int:
    """Peak, bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")
