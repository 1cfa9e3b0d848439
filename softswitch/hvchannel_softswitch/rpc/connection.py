# SPDX-License-Identifier: Apache-2.0
"""One client's connection: HTTP/2's frames (RFC 9113) to calls and back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import structlog
from hyperframe.frame import (
    ContinuationFrame,
    Frame,
    GoAwayFrame,
    PingFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from hvchannel_softswitch.rpc.call import WINDOW, Call
from hvchannel_softswitch.rpc.frames import (
    MAX_FRAME,
    MAX_WINDOW,
    SMALLEST_MAX_FRAME,
    AnyFrame,
    Data,
    FrameReader,
    Headers,
    Response,
    WindowUpdate,
    header_frames,
    widened,
)
from hvchannel_softswitch.rpc.headers import MAX_HEADERS, NOT_GRPC, OK_END, START, Head, HeadReader, ending
from hvchannel_softswitch.rpc.keepalive import KeepAlive
from hvchannel_softswitch.rpc.messages import PREFIX, framed
from hvchannel_softswitch.rpc.status import Code, ConnectionFault, ErrorCode, Status
from hvchannel_softswitch.rpc.streaming import StreamingCall, StreamingMethod
from hvchannel_softswitch.rpc.turns import Turns
from hvchannel_softswitch.rpc.unary import UnaryCall, UnaryMethod

MAX_CALLS = 256
"""Of one connection at a time."""

_DEFAULT_WINDOW = 65535
_CONNECTION_WINDOW = 16 * WINDOW
"""Bytes of data that a client may send ahead, of all calls together."""

_RESPONSE = Response(START, OK_END)
_STOPPING = Status(Code.UNAVAILABLE, "the server is stopping")

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Service:
    """What all connections of a server share."""

    unary: dict[str, UnaryMethod]
    streaming: dict[str, StreamingMethod]
    turns: Turns
    connections: set[Connection] = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    """Of the streaming calls."""


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._frames = FrameReader()
        self._heads = HeadReader(self._route)
        self._calls: dict[int, Call] = {}
        self._last_stream = 0
        self._opening: Headers | None = None
        self._receive_window = _CONNECTION_WINDOW
        self.initial_window = _DEFAULT_WINDOW
        self.send_window = _DEFAULT_WINDOW
        self.max_frame = SMALLEST_MAX_FRAME
        self.is_writable = True
        self._is_ending = False
        self._is_busy = False
        self.lost = asyncio.get_running_loop().create_future()
        """Done when the socket is closed."""

    # --- the transport's side ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        # Whether it is one cannot be asked: uvloop's transports are of no class of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._service.connections.add(self)
        settings = {
            SettingsFrame.MAX_CONCURRENT_STREAMS: MAX_CALLS,
            SettingsFrame.INITIAL_WINDOW_SIZE: WINDOW,
            SettingsFrame.MAX_FRAME_SIZE: MAX_FRAME,
            SettingsFrame.MAX_HEADER_LIST_SIZE: MAX_HEADERS,
        }
        self._keepalive = KeepAlive(
            lambda: self._send(PingFrame(0, bytes(8))), self._silent, self._transport.get_write_buffer_size
        )
        self._send(SettingsFrame(0, settings))
        self.widen(0, _CONNECTION_WINDOW - _DEFAULT_WINDOW)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._is_ending = True
        self._keepalive.stop()
        self._service.connections.discard(self)
        self._drop_calls()
        self.lost.set_result(None)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._keepalive.heard()
        self._frames.feed(data)
        if self._is_busy:
            self._transport.pause_reading()
        else:
            self._is_busy = not self._service.turns.run(self._work)

    def pause_writing(self) -> None:
        """See asyncio.Protocol. A client that does not read is not read from either: its requests make answers."""
        self.is_writable = False
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        self.is_writable = True
        if not self._is_busy:
            self._transport.resume_reading()
        self._flush_calls()

    # --- the calls' side ---------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Sends frames."""
        if not self._transport.is_closing():
            self._transport.write(data)

    def widen(self, stream: int, size: int) -> None:
        """Lets the client send so much more; stream 0 is the connection."""
        self._send(WindowUpdateFrame(stream, size))

    def answer(self, call: Call, message: bytes) -> bool:
        """Sends the whole response of a call that went well; false where the windows are too small for it."""
        size = len(message) + PREFIX.size
        if size > self.send_window or size > self.initial_window or size > self.max_frame:
            return False
        self.send_window -= size
        self._calls.pop(call.stream, None)
        self.write(_RESPONSE.frames(call.stream, framed(message)))
        return True

    def end_of(self, call: Call, *, is_request_over: bool) -> None:
        """The call's response has been sent to its end."""
        if self._calls.pop(call.stream, None) is not None and not is_request_over:
            self._reset(call.stream, ErrorCode.NO_ERROR)

    def shut_down(self) -> None:
        """Ends all calls and the connection."""
        for call in list(self._calls.values()):
            call.end(_STOPPING)
        self._end(ErrorCode.NO_ERROR, "")

    def _silent(self) -> None:
        _log.warning("client_is_silent", reason="it answers no PING: its connection and calls are given up")
        self.abort()

    def abort(self) -> None:
        """Closes the socket, whatever has not been sent."""
        self._transport.abort()

    # --- frames ------------------------------------------------------------------------------------------------------

    def _work(self) -> bool:
        """Handles the frames that are there; see turns.Work."""
        turns, frames = self._service.turns, self._frames
        try:
            while not self._is_ending and (frame := frames.next()) is not None:
                kind = type(frame)
                if self._opening is not None and kind is not ContinuationFrame:
                    raise ConnectionFault(
                        ErrorCode.PROTOCOL_ERROR, "headers are interrupted by another frame"
                    )
                if (handle := _HANDLERS.get(kind)) is not None:
                    handle(self, frame)
                if turns.is_over:
                    return True
        except ConnectionFault as fault:
            _log.warning("connection_ended", code=fault.code.name, reason=str(fault))
            self._end(fault.code, str(fault))
        except Exception:
            _log.exception("defect_ends_connection")
            self._end(ErrorCode.INTERNAL_ERROR, "internal error, see the switch's log")
        if self._is_busy:
            self._keepalive.heard()  # nothing was read meanwhile
            self._is_busy = False
            if self.is_writable:
                self._transport.resume_reading()
        return False

    def _on_data(self, frame: Data) -> None:
        self._receive_window -= frame.size
        if self._receive_window < _CONNECTION_WINDOW // 2:
            if self._receive_window < 0:
                raise ConnectionFault(
                    ErrorCode.FLOW_CONTROL_ERROR, "data beyond the window of the connection"
                )
            self.widen(0, _CONNECTION_WINDOW - self._receive_window)
            self._receive_window = _CONNECTION_WINDOW
        if (call := self._call(frame.stream)) is not None:
            call.receive(frame)

    def _on_headers(self, frame: Headers) -> None:
        if frame.is_whole:
            self._open(frame)
        else:
            self._opening = frame

    def _on_continuation(self, frame: ContinuationFrame) -> None:
        opening = self._opening
        if opening is None or opening.stream != frame.stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "CONTINUATION of nothing")
        block = opening.block + frame.data
        if len(block) > MAX_HEADERS or not frame.data:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "headers go on and on")
        self._opening = None
        self._on_headers(Headers(opening.stream, block, "END_HEADERS" in frame.flags, opening.is_last))

    def _on_reset(self, frame: RstStreamFrame) -> None:
        if (call := self._call(frame.stream_id)) is not None:
            del self._calls[frame.stream_id]
            call.reset()

    def _on_window_update(self, frame: WindowUpdate) -> None:
        if frame.stream:
            if (call := self._call(frame.stream)) is not None:
                call.widen(frame.size)
            return
        was_shut = self.send_window <= 0
        self.send_window = widened(self.send_window, frame.size)
        if was_shut:
            self._flush_calls()

    def _on_settings(self, frame: SettingsFrame) -> None:
        if "ACK" in frame.flags:
            return
        size = frame.settings.get(SettingsFrame.MAX_FRAME_SIZE, self.max_frame)
        window = frame.settings.get(SettingsFrame.INITIAL_WINDOW_SIZE, self.initial_window)
        if not SMALLEST_MAX_FRAME <= size < 1 << 24:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"MAX_FRAME_SIZE {size} is not valid")
        if window > MAX_WINDOW:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, f"INITIAL_WINDOW_SIZE {window} is not valid")
        self.max_frame = size
        for call in self._calls.values():
            call.change_initial_window(window - self.initial_window)
        self.initial_window = window
        self._send(SettingsFrame(0, flags=["ACK"]))
        self._flush_calls()

    def _on_ping(self, frame: PingFrame) -> None:
        if "ACK" not in frame.flags:
            self._send(PingFrame(0, frame.opaque_data, flags=["ACK"]))

    def _on_push(self, _: PushPromiseFrame) -> None:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a client cannot push")

    # --- calls -------------------------------------------------------------------------------------------------------

    def _open(self, frame: Headers) -> None:
        stream, is_last = frame.stream, frame.is_last
        make = self._heads.read(frame.block)
        if stream <= self._last_stream:
            # Trailers; or headers of a call that we have ended, which the client did not know yet.
            if (call := self._calls.get(stream)) is not None:
                if not is_last:
                    raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "two headers of one call")
                call.receive(Data(stream, b"", 0, True))
            return
        if stream % 2 == 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"{stream} is no number of a client's stream")
        self._last_stream = stream
        if len(self._calls) >= MAX_CALLS:
            self._reset(stream, ErrorCode.REFUSED_STREAM)
            return
        if isinstance(make, bytes):
            self.write(header_frames(stream, make, self.max_frame, is_end=True))
            if not is_last:
                self._reset(stream, ErrorCode.NO_ERROR)
            return
        call = self._calls[stream] = make(stream)
        if is_last:
            call.receive(Data(stream, b"", 0, True))

    def _route(self, head: Head) -> Callable[[int], Call] | bytes:
        """What makes the call, by its stream; or the whole response, where there is no such call."""
        service = self._service
        if not head.is_grpc:
            return NOT_GRPC
        if head.encoding != b"identity":
            reason = f"grpc-encoding {head.encoding.decode('latin-1')!r} is not supported (valid: identity)"
        elif (unary := service.unary.get(head.path)) is not None:
            return lambda stream: UnaryCall(self, stream, unary)
        elif (streaming := service.streaming.get(head.path)) is not None:
            return lambda stream: self._streaming(StreamingCall(self, stream, streaming, head.timeout))
        else:
            reason = f"method {head.path!r} is not here"
        return ending(Status(Code.UNIMPLEMENTED, reason), is_started=False)

    def _streaming(self, call: StreamingCall) -> Call:
        self._service.tasks.add(call.task)
        call.task.add_done_callback(self._service.tasks.discard)
        return call

    def _call(self, stream: int) -> Call | None:
        """None for one that is over: frames of it may still be on their way."""
        if stream > self._last_stream:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"stream {stream} has not begun")
        return self._calls.get(stream)

    def _flush_calls(self) -> None:
        for call in list(self._calls.values()):
            call.flush()

    def _drop_calls(self) -> None:
        for call in list(self._calls.values()):
            call.reset()
        self._calls.clear()

    def _send(self, frame: Frame) -> None:
        self.write(frame.serialize())

    def _reset(self, stream: int, code: ErrorCode) -> None:
        self._send(RstStreamFrame(stream, code))

    def _end(self, code: ErrorCode, reason: str) -> None:
        self._is_ending = True
        self._send(GoAwayFrame(0, self._last_stream, code, reason.encode()))
        self._drop_calls()
        self._transport.close()


_HANDLERS: dict[type[AnyFrame], Callable[[Connection, Any], None]] = {
    Data: Connection._on_data,
    Headers: Connection._on_headers,
    ContinuationFrame: Connection._on_continuation,
    RstStreamFrame: Connection._on_reset,
    WindowUpdate: Connection._on_window_update,
    SettingsFrame: Connection._on_settings,
    PingFrame: Connection._on_ping,
    PushPromiseFrame: Connection._on_push,
}
"""Frames of other types say nothing to a server, or are not known to it."""
