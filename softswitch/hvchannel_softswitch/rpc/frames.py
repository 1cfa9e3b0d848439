# SPDX-License-Identifier: Apache-2.0
"""HTTP/2's frames (RFC 9113, section 4). hyperframe knows them all; the three of which calls are made come and go by
the thousand in their plainest form, and that is read and written here, in a fraction of the time."""

from __future__ import annotations

import struct
from typing import NamedTuple, TypeAlias

from hyperframe.exceptions import HyperframeError, InvalidFrameError
from hyperframe.frame import DataFrame, Frame, HeadersFrame

from hvchannel_softswitch.rpc.status import ConnectionFault, ErrorCode

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client says first."""

MAX_FRAME = 256 << 10
"""Bytes of the longest frame taken: a batch of a thousand entries in one."""

SMALLEST_MAX_FRAME = 16 << 10
"""What every peer takes, and what it takes until it says otherwise."""

MAX_WINDOW = 2**31 - 1
"""Bytes of data that may ever be allowed ahead."""

_HEADER = struct.Struct(">HBBBL")
_HEADER_BYTES = _HEADER.size
_DATA, _HEADERS, _WINDOW_UPDATE, _CONTINUATION = 0, 1, 8, 9
_WINDOW_UPDATE_BYTES = 4
_END_STREAM, _END_HEADERS = 1, 4
_COMPLICATED = 8 | 32
"""The flags PADDED and PRIORITY."""
_STREAM = 0x7FFFFFFF
"""The bits of a stream's number, or of a window's change; the one above is reserved."""


class Data(NamedTuple):
    """Some of a call's messages. `size` is what it takes of the windows."""

    stream: int
    data: bytes
    size: int
    is_last: bool


class Headers(NamedTuple):
    """A block of compressed headers, or its beginning."""

    stream: int
    block: bytes
    is_whole: bool
    is_last: bool


class WindowUpdate(NamedTuple):
    """The other side takes so much more data: of a call, or of all together (stream 0)."""

    stream: int
    size: int


AnyFrame: TypeAlias = Data | Headers | WindowUpdate | Frame
"""`Frame` is any of hyperframe's other kinds."""


class FrameReader:
    """Takes one connection's bytes as they come in, gives frames as they are whole."""

    def __init__(self) -> None:
        self._data = b""
        self._place = 0
        self._rest = bytearray()
        self._wanted = len(PREFACE)
        self._is_greeted = False

    def feed(self, data: bytes) -> None:
        """More bytes."""
        if self._place < len(self._data):
            self._data, self._place = self._data[self._place :] + data, 0
            return
        if self._rest:
            self._rest += data
            if len(self._rest) < self._wanted:
                return
            data = bytes(self._rest)
            self._rest.clear()
        self._data, self._place = data, 0

    def next(self) -> AnyFrame | None:
        """The next frame; None when the next one is not whole yet. Raises ConnectionFault."""
        if not self._is_greeted and not self._greet():
            return None
        data, place = self._data, self._place
        if place == len(data):
            return None
        start = place + _HEADER_BYTES
        if start > len(data):
            self._wait_for(_HEADER_BYTES)
            return None
        high, low, kind, flags, stream = _HEADER.unpack_from(data, place)
        length = high << 8 | low
        stop = start + length
        if length > MAX_FRAME:
            raise ConnectionFault(
                ErrorCode.FRAME_SIZE_ERROR, f"frame of {length} bytes is too long (valid: up to {MAX_FRAME})"
            )
        if stop > len(data):
            self._wait_for(stop - place)
            return None
        self._place = stop
        if stream and kind <= _HEADERS and not flags & _COMPLICATED:
            is_last = bool(flags & _END_STREAM)
            if kind == _DATA:
                return Data(stream & _STREAM, data[start:stop], length, is_last)
            return Headers(stream & _STREAM, data[start:stop], bool(flags & _END_HEADERS), is_last)
        if kind == _WINDOW_UPDATE:
            return _window_update(stream & _STREAM, data[start:stop])
        return _parsed(memoryview(data)[place:stop])

    def _greet(self) -> bool:
        if not PREFACE.startswith(self._data[: len(PREFACE)]):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "this is not HTTP/2")
        if len(self._data) < len(PREFACE):
            self._wait_for(len(PREFACE))
            return False
        self._place = len(PREFACE)
        self._is_greeted = True
        return True

    def _wait_for(self, size: int) -> None:
        """Until there are so many bytes."""
        self._rest += self._data[self._place :]
        self._data, self._place, self._wanted = b"", 0, size


def _window_update(stream: int, body: bytes) -> WindowUpdate:
    if len(body) != _WINDOW_UPDATE_BYTES:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"WINDOW_UPDATE of {len(body)} bytes")
    size = int.from_bytes(body) & _STREAM
    if not size:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE by nothing")
    return WindowUpdate(stream, size)


def _parsed(data: memoryview) -> AnyFrame:
    try:
        frame, _ = Frame.parse_frame_header(data[:_HEADER_BYTES])
        frame.parse_body(data[_HEADER_BYTES:])
    except InvalidFrameError as error:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, str(error)) from error
    except HyperframeError as error:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, str(error)) from error
    if isinstance(frame, DataFrame):
        return Data(frame.stream_id, frame.data, frame.body_len, "END_STREAM" in frame.flags)
    if isinstance(frame, HeadersFrame):
        is_whole = "END_HEADERS" in frame.flags
        return Headers(frame.stream_id, frame.data, is_whole, "END_STREAM" in frame.flags)
    return frame


def widened(window: int, size: int) -> int:
    """The window after an update. Raises ConnectionFault."""
    if window + size > MAX_WINDOW:
        raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a window is too large")
    return window + size


def data_frame(stream: int, data: bytes | memoryview) -> bytes:
    """A DATA frame."""
    return b"".join((_header(_DATA, 0, stream, len(data)), data))


def header_frames(stream: int, block: bytes, limit: int, *, is_end: bool) -> bytes:
    """A HEADERS frame, and more of them (CONTINUATION) for a block that is longer than the limit."""
    flags = _END_STREAM if is_end else 0
    if len(block) <= limit:
        return _header(_HEADERS, flags | _END_HEADERS, stream, len(block)) + block
    parts = [block[start : start + limit] for start in range(0, len(block), limit)]
    kinds = [(_HEADERS, flags), *[(_CONTINUATION, 0)] * (len(parts) - 2), (_CONTINUATION, _END_HEADERS)]
    return b"".join(
        _header(kind, flags, stream, len(part)) + part
        for (kind, flags), part in zip(kinds, parts, strict=True)
    )


class Response:
    """The frames of responses that have one message and differ in nothing else; all of them short."""

    def __init__(self, start: bytes, end: bytes) -> None:
        """`start` and `end` are header blocks."""
        self._start = struct.Struct(f">HBBBL{len(start)}sHBBBL")
        self._end = struct.Struct(f">HBBBL{len(end)}s")
        self._before = (0, len(start), _HEADERS, _END_HEADERS)
        self._after = (0, len(end), _HEADERS, _END_HEADERS | _END_STREAM)
        self._blocks = start, end

    def frames(self, stream: int, data: bytes) -> bytes:
        """With this data in it."""
        start, end = self._blocks
        length = len(data)
        return b"".join(
            (
                self._start.pack(*self._before, stream, start, length >> 8, length & 0xFF, _DATA, 0, stream),
                data,
                self._end.pack(*self._after, stream, end),
            )
        )


def _header(kind: int, flags: int, stream: int, length: int) -> bytes:
    return _HEADER.pack(length >> 8, length & 0xFF, kind, flags, stream)
