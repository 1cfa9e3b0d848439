# SPDX-License-Identifier: Apache-2.0
"""Calls with any number of messages in either direction, each run by a task of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import TypeAlias

import structlog

from hvchannel_softswitch.rpc.call import Call, Connection
from hvchannel_softswitch.rpc.status import OK, Code, RpcError, Status
from hvchannel_softswitch.rpc.unary import DEFECT

StreamingMethod: TypeAlias = Callable[[AsyncIterator[bytes]], AsyncGenerator[bytes, None]]
"""Takes requests, gives responses. Raises RpcError. Closed at once when the client is gone."""

_AHEAD = 64
"""Messages that wait for the method before the client has to."""

_log = structlog.get_logger(__name__)


class StreamingCall(Call):
    """Runs from the first header to its end, the client's cancellation, or the deadline that the client has given."""

    __slots__ = ("_deadline", "_method", "_news", "_requests", "task")

    def __init__(
        self,
        connection: Connection,
        stream: int,
        method: StreamingMethod,
        timeout: float | None,
    ) -> None:
        super().__init__(connection, stream)
        self._method = method
        self._requests: deque[bytes] = deque()
        self._news = asyncio.Event()
        self._deadline: asyncio.TimerHandle | None = None
        if timeout is not None:
            late = Status(Code.DEADLINE_EXCEEDED, "deadline exceeded")
            self._deadline = asyncio.get_running_loop().call_later(timeout, self.end, late)
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            async with contextlib.aclosing(self._method(self._incoming())) as responses:
                async for response in responses:
                    self.outbox.send(response)
                    await self.outbox.room()
        except RpcError as error:
            self.end(error.status)
        except Exception:
            _log.exception("defect_ends_stream")
            self.end(DEFECT)
        else:
            self.end(OK)

    async def _incoming(self) -> AsyncIterator[bytes]:
        while True:
            while self._requests:
                yield self._requests.popleft()
            if self._is_request_over:
                return
            self._widen()
            self._news.clear()
            await self._news.wait()

    def _has_room(self) -> bool:
        return len(self._requests) < _AHEAD

    def _take(self, message: bytes) -> None:
        self._requests.append(message)
        self._news.set()

    def _finish_request(self) -> None:
        self._news.set()

    def _stop(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        # Not the task itself: it ends by itself when it has said the end.
        if self.task is not asyncio.current_task():
            self.task.cancel()
