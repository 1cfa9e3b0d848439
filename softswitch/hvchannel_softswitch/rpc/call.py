# SPDX-License-Identifier: Apache-2.0
"""One call, whatever its kind: what comes in, by the windows that we give the client, and how it ends."""

from __future__ import annotations

from typing import Protocol

from hvchannel_softswitch.rpc.frames import Data, widened
from hvchannel_softswitch.rpc.messages import MessageReader
from hvchannel_softswitch.rpc.outbox import Line, Outbox
from hvchannel_softswitch.rpc.status import ConnectionFault, ErrorCode, RpcError, Status

MAX_MESSAGE = 64 << 20
"""Bytes of the longest request: gRPC's usual 4 MB would refuse big pipelines and big batches."""

WINDOW = 1 << 20
"""Bytes of a call's data that a client may send ahead."""


class Connection(Line, Protocol):
    """The connection, as its calls see it."""

    initial_window: int
    """Bytes of data that the client takes of each call, until it says more."""

    def widen(self, stream: int, size: int) -> None:
        """Lets the client send so much more of this call."""

    def answer(self, call: Call, message: bytes) -> bool:
        """Sends the whole response of a call that went well, and forgets the call; unless the windows are too small,
        and nothing is done."""

    def end_of(self, call: Call, *, is_request_over: bool) -> None:
        """Forgets the call, whose response has been sent to the end."""


class Call:
    """One call of a client. Subclasses say what happens when messages come in (`_take`), when the last one has
    (`_finish_request`), and when nobody has an interest in the rest (`_stop`)."""

    # Made by the thousand: most do without a reader and an outbox, so these are made when they are needed.
    __slots__ = (
        "_connection",
        "_granted",
        "_is_ending",
        "_is_request_over",
        "_outbox",
        "_reader",
        "_window",
        "stream",
    )

    def __init__(self, connection: Connection, stream: int) -> None:
        self.stream = stream
        self._connection = connection
        self._window = WINDOW
        self._granted = 0
        self._is_request_over = False
        self._is_ending = False
        self._reader: MessageReader | None = None
        self._outbox: Outbox | None = None

    @property
    def outbox(self) -> Outbox:
        """What the client is sent."""
        if self._outbox is None:
            window = self._connection.initial_window + self._granted
            self._outbox = Outbox(self._connection, self.stream, window)
        return self._outbox

    def receive(self, frame: Data) -> None:
        """Some of the request. Raises ConnectionFault."""
        if self._is_request_over:
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, "data after the end of a request")
        self._window -= frame.size
        if self._window < 0:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "data beyond the window of a call")
        self._is_request_over = frame.is_last
        if self._is_ending:
            return
        try:
            if self._reader is None:
                self._reader = MessageReader(MAX_MESSAGE)
            for message in self._reader.feed(frame.data):
                self._take(message)
            if frame.is_last:
                self._finish_request()
            else:
                self._widen()
        except RpcError as error:
            self.end(error.status)

    def end(self, status: Status, message: bytes | None = None) -> None:
        """The response's end, with the last message if there is one. Once it has been said it stands."""
        if not self._is_ending:
            self._is_ending = True
            self.outbox.finish(status, message)
            self._stop()
            self.flush()

    def flush(self) -> None:
        """Sends on, after a window has grown or the socket has become writable."""
        if self._outbox is None:
            return
        self._outbox.flush()
        if self._outbox.is_over:
            self._connection.end_of(self, is_request_over=self._is_request_over)

    def widen(self, size: int) -> None:
        """The client takes so much more data of this call. Raises ConnectionFault."""
        if self._outbox is None:
            self._granted = widened(self._granted, size)
        else:
            self._outbox.window = widened(self._outbox.window, size)
            self.flush()

    def change_initial_window(self, size: int) -> None:
        """The connection's has changed by this, for calls that are there as well."""
        if self._outbox is not None:
            self._outbox.window += size

    def reset(self) -> None:
        """The client has given up the call, or is gone."""
        self._is_ending = True
        self._stop()

    def _widen(self) -> None:
        if self._window < WINDOW // 2 and self._has_room():
            self._connection.widen(self.stream, WINDOW - self._window)
            self._window = WINDOW

    def _has_room(self) -> bool:
        return True

    def _take(self, message: bytes) -> None:
        raise NotImplementedError

    def _finish_request(self) -> None:
        raise NotImplementedError

    def _stop(self) -> None:
        raise NotImplementedError
