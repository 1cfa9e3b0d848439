# SPDX-License-Identifier: Apache-2.0
"""Many streams over one virtio-serial port, for the lab's window: the same at either end.

A message is a header (kind, stream, length; big-endian) and so many bytes. Either end may go away in the middle of one,
as a guest does that is reset: each begins by saying `MARK`, and what came before the other's is dropped.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

MARK = b"\0hvchannel-window\0"
"""The guest says it when it begins, the host answers with it."""

_HEADER = struct.Struct("!BII")
_OPEN, _DATA, _CLOSE = range(3)
_CHUNK = 1 << 15


class Stream:
    """One of them. `read` gives b"" at its end."""

    def __init__(self, link: Link, number: int) -> None:
        self._link = link
        self._number = number
        self._arrived: asyncio.Queue[bytes] = asyncio.Queue()
        self._over = False

    async def read(self) -> bytes:
        """The next bytes; b"" once the other end has closed."""
        if self._over:
            return b""
        data = await self._arrived.get()
        self._over = not data
        return data

    async def read_all(self) -> bytes:
        """To its end."""
        found = bytearray()
        while data := await self.read():
            found += data
        return bytes(found)

    async def write(self, data: bytes) -> None:
        """Raises ConnectionError when the link is gone."""
        for start in range(0, len(data), _CHUNK):
            await self._link.say(_DATA, self._number, data[start : start + _CHUNK])

    async def close(self) -> None:
        """No more from here."""
        with suppress(ConnectionError):
            await self._link.say(_CLOSE, self._number)

    def arrived(self, data: bytes) -> None:
        """The link's alone."""
        self._arrived.put_nowait(data)


class Link:
    """Of one guest's life. The end that opens a stream numbers it: only the host does."""

    def __init__(
        self,
        writer: asyncio.StreamWriter,
        serve: Callable[[dict[str, Any], Stream], Awaitable[None]] | None = None,
    ) -> None:
        """`serve` is awaited, in a task of its own, for each stream that the other end opens, with what it asks for."""
        self._writer = writer
        self._serve = serve
        self._streams: dict[int, Stream] = {}
        self._next = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._gone = False
        self._turn = asyncio.Lock()

    async def open(self, **asked: Any) -> Stream:
        """Raises ConnectionError."""
        self._next += 1
        stream = self._streams[self._next] = Stream(self, self._next)
        await self.say(_OPEN, self._next, json.dumps(asked).encode())
        return stream

    async def say(self, kind: int, number: int, data: bytes = b"") -> None:
        """Raises ConnectionError."""
        if self._gone:
            raise ConnectionResetError("the guest has gone, or begun anew")
        async with self._turn:
            self._writer.write(_HEADER.pack(kind, number, len(data)) + data)
            await self._writer.drain()

    async def run(self, reader: asyncio.StreamReader, rest: bytes = b"") -> bytes:
        """Until the other end goes or begins anew; returns what came after its new `MARK`, if that is why."""
        buffer = bytearray(rest)
        try:
            while True:
                mark = buffer.find(MARK)
                if mark >= 0:
                    return bytes(buffer[mark + len(MARK) :])
                self._take(buffer)
                data = await reader.read(_CHUNK)
                if not data:
                    raise ConnectionResetError("the port is closed")
                buffer += data
        finally:
            self.end()

    def end(self) -> None:
        """All streams are over."""
        self._gone = True
        for stream in self._streams.values():
            stream.arrived(b"")
        for task in self._tasks:
            task.cancel()

    def _take(self, buffer: bytearray) -> None:
        while len(buffer) >= _HEADER.size:
            kind, number, length = _HEADER.unpack_from(buffer)
            if len(buffer) < _HEADER.size + length:
                return
            data = bytes(buffer[_HEADER.size : _HEADER.size + length])
            del buffer[: _HEADER.size + length]
            if kind == _OPEN and self._serve:
                stream = self._streams[number] = Stream(self, number)
                task = asyncio.ensure_future(self._served(stream, json.loads(data)))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            elif number in self._streams:
                self._streams[number].arrived(data if kind == _DATA else b"")

    async def _served(self, stream: Stream, asked: dict[str, Any]) -> None:
        assert self._serve
        try:
            with suppress(ConnectionError):
                await self._serve(asked, stream)
        finally:
            await stream.close()


async def marked(reader: asyncio.StreamReader) -> bytes:
    """Reads up to the other end's `MARK`; returns what came after it. Raises ConnectionError at the end."""
    buffer = bytearray()
    while (mark := buffer.find(MARK)) < 0:
        data = await reader.read(_CHUNK)
        if not data:
            raise ConnectionResetError("the port is closed")
        buffer += data
    return bytes(buffer[mark + len(MARK) :])
