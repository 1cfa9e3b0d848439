# SPDX-License-Identifier: Apache-2.0
"""Calls of one request and one response, answered in one go."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import structlog

from hvchannel_softswitch.rpc.call import Call, Connection
from hvchannel_softswitch.rpc.frames import Data
from hvchannel_softswitch.rpc.messages import only_message
from hvchannel_softswitch.rpc.status import OK, Code, RpcError, Status

UnaryMethod: TypeAlias = Callable[[bytes], bytes]
"""Answers a request, without waiting for anything. Raises RpcError."""

DEFECT = Status(Code.INTERNAL, "internal error, see the switch's log")

_log = structlog.get_logger(__name__)


class UnaryCall(Call):
    """Runs as soon as its request is whole, and nothing else runs on the loop meanwhile. So there is no use for the
    client's deadline."""

    __slots__ = ("_method", "_request")

    def __init__(self, connection: Connection, stream: int, method: UnaryMethod) -> None:
        super().__init__(connection, stream)
        self._method = method
        self._request: bytes | None = None

    def receive(self, frame: Data) -> None:
        """See Call. Most requests are one message in one frame."""
        is_first = self._reader is None and not self._is_request_over and not self._is_ending
        if frame.is_last and is_first and (message := only_message(frame.data)) is not None:
            self._is_request_over = True
            self._answer(message)
        else:
            super().receive(frame)

    def _answer(self, request: bytes) -> None:
        try:
            answer = self._method(request)
        except RpcError as error:
            self.end(error.status)
        except Exception:
            _log.exception("defect_ends_call")
            self.end(DEFECT)
        else:
            if self._outbox is not None or not self._connection.answer(self, answer):
                self.end(OK, answer)

    def _take(self, message: bytes) -> None:
        if self._request is not None:
            raise RpcError(Code.INTERNAL, "more than one request message for a unary method")
        self._request = message

    def _finish_request(self) -> None:
        if self._request is None or (self._reader is not None and not self._reader.is_empty):
            raise RpcError(Code.INTERNAL, "the request ends before its message does")
        self._answer(self._request)

    def _stop(self) -> None:
        pass
