# SPDX-License-Identifier: Apache-2.0
"""The lab's window, the guest's side: by it the lab looks at what is in the guest, and tests act as root there would.

It is no part of the channel, and carries none of its packets: a virtio-serial port that a guest outside of a lab does
not have.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from hvchannel_lab import network
from hvchannel_lab.guest import PORT
from hvchannel_lab.guest.link import MARK, Link, Stream, marked
from hvchannel_lab.namespaces import inside
from hvchannel_lab.packet_socket import PacketSocket
from hvchannel_lab.parts import Vm
from hvchannel_lab.topology import Topology

FRAME = struct.Struct("!QBBBI")
"""Before each frame of a capture: its time (CLOCK_MONOTONIC of the guest, ns), the index of its hop among those asked
for, whether it was outgoing, whether its checksum is in it, its length."""
_PORTS = Path("/sys/class/virtio-ports")
_POLL = 0.1  # seconds between two looks at a file that is followed
_AGAIN = 0.3  # seconds until the port is opened anew
_CHUNK = 1 << 16


class Agent:
    """Serves what the host's side asks for."""

    def __init__(self, topology: Topology, vm: Vm, ready: asyncio.Event) -> None:
        """`ready`: set once all programs are up."""
        self._topology = topology
        self._vm = vm
        self._ready = ready
        self._serve: dict[str, Callable[[dict[str, Any], Stream], Awaitable[None]]] = {
            "ready": self._when_ready,
            "look": self._look,
            "clock": self._clock,
            "connect": self._connect,
            "follow": self._follow,
            "capture": self._capture,
            "send": self._send,
            "run": self._run_program,
        }

    async def run(self) -> None:
        """Does not end. The other side may come and go."""
        while True:
            with suppress(OSError):
                await self._once()
            await asyncio.sleep(_AGAIN)

    async def _once(self) -> None:
        descriptor = os.open(_device(), os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        incoming, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", 0)
        )
        outgoing, protocol = await loop.connect_write_pipe(
            asyncio.streams.FlowControlMixin, os.fdopen(os.dup(descriptor), "wb", 0)
        )
        writer = asyncio.StreamWriter(outgoing, protocol, None, loop)
        try:
            writer.write(MARK)
            rest = await marked(reader)
            await Link(writer, self._served).run(reader, rest)
        finally:
            incoming.close()
            outgoing.close()

    async def _served(self, asked: dict[str, Any], stream: Stream) -> None:
        await self._serve[asked.pop("what")](asked, stream)

    async def _when_ready(self, _: dict[str, Any], stream: Stream) -> None:
        await self._ready.wait()
        await stream.write(b"ready\n")

    async def _look(self, _: dict[str, Any], stream: Stream) -> None:
        await stream.write(json.dumps(await asyncio.to_thread(self._seen)).encode())

    def _seen(self) -> dict[str, Any]:
        with network.link(self._vm.namespace) as link:
            interfaces = sorted(path.name for path in Path("/sys/class/net").iterdir())
            xdp = [name for name in interfaces if link.runs_xdp(name)]
        system = os.uname()
        return {
            "kernel": f"{system.sysname} {system.release} {system.version}",
            "machine": Path("/sys/class/dmi/id/product_name").read_text().strip(),
            "uptime": float(Path("/proc/uptime").read_text().split()[0]),
            "interfaces": interfaces,
            "xdp": xdp,
        }

    async def _clock(self, _: dict[str, Any], stream: Stream) -> None:
        """CLOCK_MONOTONIC, once for each byte that comes."""
        while await stream.read():
            await stream.write(struct.pack("!Q", time.monotonic_ns()))

    async def _connect(self, asked: dict[str, Any], stream: Stream) -> None:
        """To a unix socket of the channel's programs."""
        try:
            reader, writer = await asyncio.open_unix_connection(asked["path"])
        except OSError:
            return
        try:
            await both_ways(stream, reader, writer)
        finally:
            writer.close()

    async def _follow(self, asked: dict[str, Any], stream: Stream) -> None:
        """What is written to a file, from its beginning, and anew when it is begun anew."""
        path, at = Path(asked["path"]), 0
        while True:
            at, data = _fresh(path, at)
            if data:
                await stream.write(data)
            else:
                await asyncio.sleep(_POLL)

    async def _capture(self, asked: dict[str, Any], stream: Stream) -> None:
        """Frames at interfaces, until the other end closes. The first byte says that it has begun."""
        hops = [self._topology.hop(name) for name in asked["hops"]]
        sockets = [PacketSocket(hop) for hop in hops]
        awake = asyncio.Event()
        loop = asyncio.get_running_loop()
        over = asyncio.ensure_future(stream.read())
        over.add_done_callback(lambda _: awake.set())
        epoch = time.time_ns() - time.monotonic_ns()
        try:
            for one in sockets:
                one.open()
                loop.add_reader(one.fileno(), awake.set)
            await stream.write(b"+")
            while not over.done():
                await awake.wait()
                awake.clear()
                for number, one in enumerate(sockets):
                    for frame in one.read():
                        head = FRAME.pack(
                            frame.time - epoch, number, frame.outgoing, frame.checksum_ready, len(frame.data)
                        )
                        await stream.write(head + frame.data)
        finally:
            for one in sockets:
                loop.remove_reader(one.fileno())
                one.close()

    async def _send(self, asked: dict[str, Any], stream: Stream) -> None:
        """Whole frames on the wire of a hop."""
        hop = self._topology.hop(asked["hop"])
        with inside(hop.namespace):
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        with sock:
            sock.bind((hop.interface, 0))
            for frame in asked["frames"]:
                sock.send(bytes.fromhex(frame))
        await stream.write(b"sent\n")

    async def _run_program(self, asked: dict[str, Any], stream: Stream) -> None:
        try:
            process = await asyncio.create_subprocess_exec(
                *asked["argv"],
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            await stream.write(
                json.dumps({"status": 127, "out": "", "err": _text(str(error).encode())}).encode()
            )
            return
        out, err = await process.communicate(base64.b64decode(asked["stdin"]))
        said = {"status": process.returncode, "out": _text(out), "err": _text(err)}
        await stream.write(json.dumps(said).encode())


async def both_ways(stream: Stream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until both ends have closed, or one has gone. Raises ConnectionError."""

    async def out() -> None:
        while data := await reader.read(_CHUNK):
            await stream.write(data)
        await stream.close()

    async def back() -> None:
        while data := await stream.read():
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()

    await asyncio.gather(out(), back())


def _fresh(path: Path, at: int) -> tuple[int, bytes]:
    """What a file has from `at` on, and where that ends; of one that became shorter, from its beginning."""
    try:
        at = 0 if path.stat().st_size < at else at
        with path.open("rb") as file:
            file.seek(at)
            data = file.read(_CHUNK)
    except FileNotFoundError:
        return 0, b""
    return at + len(data), data


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _device() -> Path:
    """Raises FileNotFoundError."""
    for port in _PORTS.iterdir():
        if (port / "name").read_text().strip() == PORT:
            return Path("/dev") / port.name
    raise FileNotFoundError(f"no virtio-serial port {PORT}")
