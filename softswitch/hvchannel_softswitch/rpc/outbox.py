# SPDX-License-Identifier: Apache-2.0
"""What a call sends: headers, messages, trailers, as far as the client's windows and the socket let them go (RFC 9113,
section 5.2)."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from hvchannel_softswitch.rpc.frames import data_frame, header_frames
from hvchannel_softswitch.rpc.headers import START, ending
from hvchannel_softswitch.rpc.messages import framed
from hvchannel_softswitch.rpc.status import Status


class Line(Protocol):
    """The connection, as an outbox sees it."""

    send_window: int
    """Bytes of data that the client still takes, of all calls together."""

    max_frame: int
    """Bytes of the longest frame that it takes."""

    is_writable: bool
    """Whether the socket keeps up."""

    def write(self, data: bytes) -> None:
        """Sends frames."""


class Outbox:
    """One call's. `window`: bytes of data that the client still takes of this call."""

    __slots__ = ("_end", "_is_started", "_line", "_room", "_stream", "_waiting", "is_over", "window")

    def __init__(self, line: Line, stream: int, window: int) -> None:
        self._line = line
        self._stream = stream
        self.window = window
        self._is_started = False
        self._waiting: deque[memoryview] = deque()
        self._end: bytes | None = None
        self._room: asyncio.Event | None = None
        self.is_over = False
        """Whether everything has been sent, to the end."""

    def send(self, message: bytes) -> None:
        """A message of many, in the order of the calls."""
        self._waiting.append(memoryview(framed(message)))
        self.flush()

    def finish(self, status: Status, message: bytes | None = None) -> None:
        """The last message, if there is one, and the end. What has not been sent before goes first, unless the call
        has failed."""
        if status.code:
            self._waiting.clear()
        if message is not None:
            self._waiting.append(memoryview(framed(message)))
        self._end = ending(status, is_started=self._is_started or message is not None)
        self.flush()

    async def room(self) -> None:
        """Returns when everything has been handed to a socket that keeps up."""
        while self._waiting or not self._line.is_writable:
            self._room = asyncio.Event()
            await self._room.wait()

    def flush(self) -> None:
        """Sends what there is, as far as it may go. To be called when a window has become larger, or the socket
        writable."""
        line, frames = self._line, list[bytes]()
        if self._waiting and not self._is_started:
            self._is_started = True
            frames.append(header_frames(self._stream, START, line.max_frame, is_end=False))
        while self._waiting:
            data = self._waiting[0]
            size = min(len(data), line.max_frame, line.send_window, self.window)
            if size <= 0:
                break
            frames.append(data_frame(self._stream, data[:size]))
            line.send_window -= size
            self.window -= size
            if size < len(data):
                self._waiting[0] = data[size:]
            else:
                self._waiting.popleft()
        if not self._waiting:
            if self._end is not None and not self.is_over:
                frames.append(header_frames(self._stream, self._end, line.max_frame, is_end=True))
                self.is_over = True
            if self._room is not None and line.is_writable:
                self._room.set()
        if frames:
            line.write(b"".join(frames))
