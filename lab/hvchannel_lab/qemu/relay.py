# SPDX-License-Identifier: Apache-2.0
"""The lab's window into a QEMU guest, the host's side: sockets and files in the VM's folder that are the guest's.

The guest's programs' unix sockets are here under the same names, and their logs and the vSwitch's trace are copied as
they are written. All goes through a virtio-serial port that is the lab's alone. The guest may be reset, frozen and
resumed meanwhile; what is open at a reset ends.

    python -m hvchannel_lab.qemu.relay --folder state/lab/vm1 --guest /state/vm1
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import signal
import struct
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from hvchannel_lab.guest.agent import both_ways
from hvchannel_lab.guest.link import MARK, Link, Stream, marked

PORT_SOCKET = "window.port"  # qemu's end of the port
ASK_SOCKET = "window.sock"  # a line of JSON that says what is wanted, then a stream of it
READY_SOCKET = "guestd.sock"
_SOCKETS = (
    *("p4rt.sock", "control.sock", "softswitch.metrics.sock", "control.metrics.sock", "guestd.metrics.sock"),
    READY_SOCKET,  # the last: who waits for it finds the others
)
_FILES = ("softswitch.log", "control.log", "guestd.log", "workload.log")
_TRACE = "trace.jsonl"
_TIME = re.compile(rb'"time_ns": (\d+)')
_AGAIN = 0.2  # seconds until the port is tried anew
_CLOCK_EVERY = 1.0  # seconds between two comparisons of the clocks
_ROUNDS = 4
_Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def clock_offset(stream: Stream) -> int:
    """What to add to the guest's CLOCK_MONOTONIC to have ours, ns: by the quickest of some questions. `stream` is open
    on "clock", and stays so."""
    best, offset = None, 0
    for _ in range(_ROUNDS):
        asked = time.monotonic_ns()
        await stream.write(b"?")
        answer = await stream.read()
        if len(answer) < 8:
            raise ConnectionResetError("the guest has gone")
        took = time.monotonic_ns() - asked
        if best is None or took < best:
            best, offset = took, asked + took // 2 - struct.unpack("!Q", answer[:8])[0]
    return offset


class Relay:
    """Of one VM: `folder` here, `guest` there."""

    def __init__(self, folder: Path, guest: Path) -> None:
        self._folder = folder
        self._guest = guest
        self._link: Link | None = None
        self._offset = 0
        self._serving = False

    def forget_sockets(self) -> None:
        """Of an earlier process."""
        for name in (*_SOCKETS, ASK_SOCKET):
            (self._folder / name).unlink(missing_ok=True)

    async def run(self) -> None:
        """Until it is cancelled."""
        async with _listening(self._folder / ASK_SOCKET, self._asked):
            while True:
                with suppress(OSError):
                    await self._once()
                await asyncio.sleep(_AGAIN)

    async def _once(self) -> None:
        reader, writer = await asyncio.open_unix_connection(self._folder / PORT_SOCKET)
        try:
            rest = await marked(reader)
            while True:
                print("the guest's end of the window is open", flush=True)
                writer.write(MARK)
                self._link = Link(writer)
                tasks = [asyncio.ensure_future(self._guest_is_up(self._link))]
                try:
                    rest = await self._link.run(reader, rest)
                finally:
                    for task in tasks:
                        task.cancel()
        finally:
            self._link = None
            writer.close()

    async def _guest_is_up(self, link: Link) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._clock(link))
            for name in (*_FILES, _TRACE):
                group.create_task(self._follow(link, name))
            await (await link.open(what="ready")).read()
            print("the guest's programs are ready", flush=True)
            if not self._serving:
                self._serving = True
                for name in _SOCKETS:
                    await asyncio.start_unix_server(self._connected(name), self._folder / name)

    async def _clock(self, link: Link) -> None:
        stream = await link.open(what="clock")
        while True:
            self._offset = await clock_offset(stream)
            await asyncio.sleep(_CLOCK_EVERY)

    async def _follow(self, link: Link, name: str) -> None:
        stream = await link.open(what="follow", path=str(self._guest / name))
        with (self._folder / name).open("ab", buffering=0) as file:
            rest = b""
            while data := await stream.read():
                if name == _TRACE:  # whole lines, at our clock's times
                    *lines, rest = (rest + data).split(b"\n")
                    data = b"".join(self._at_our_time(line) + b"\n" for line in lines)
                file.write(data)

    def _at_our_time(self, line: bytes) -> bytes:
        return _TIME.sub(lambda found: b'"time_ns": %d' % (int(found[1]) + self._offset), line, count=1)

    def _connected(self, name: str) -> _Serve:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._joined({"what": "connect", "path": str(self._guest / name)}, reader, writer)

        return connected

    async def _asked(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ValueError, OSError):
            await self._joined(json.loads(await reader.readline()), reader, writer)
        writer.close()

    async def _joined(
        self, asked: dict[str, object], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            if self._link is not None:
                with suppress(OSError):
                    await both_ways(await self._link.open(**asked), reader, writer)
        finally:
            writer.close()


@asynccontextmanager
async def _listening(path: Path, serve: _Serve) -> AsyncIterator[None]:
    server = await asyncio.start_unix_server(serve, path, limit=1 << 26)
    try:
        yield
    finally:
        server.close()


def main() -> None:
    """Until SIGTERM or SIGINT, which end it with status 0."""
    parser = argparse.ArgumentParser(description="The lab's window into a guest, the host's side.")
    parser.add_argument("--folder", required=True, type=Path, help="the VM's folder in the lab's directory")
    parser.add_argument("--guest", required=True, type=Path, help="the same folder in the guest")
    arguments = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    relay = Relay(arguments.folder, arguments.guest)
    relay.forget_sockets()
    asyncio.run(relay.run())


if __name__ == "__main__":
    main()
