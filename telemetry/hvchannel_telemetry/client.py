# SPDX-License-Identifier: Apache-2.0
"""Asks a process about itself, over its unix socket."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeVar

import grpc

from hvchannel_telemetry import process_pb2 as pb
from hvchannel_telemetry import process_pb2_grpc

_TIMEOUT_SECONDS = 5.0

_Answer = TypeVar("_Answer")


class ProcessError(Exception):
    """The process refused, or did not answer; one line."""


class ProcessClient:
    """One connection to the process that serves `socket`; a context manager. Every method raises ProcessError."""

    def __init__(self, socket: Path, timeout: float = _TIMEOUT_SECONDS) -> None:
        self._socket = socket
        self._timeout = timeout
        options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
        self._channel = grpc.insecure_channel(f"unix:{socket.absolute()}", options=options)
        self._stub: Any = process_pb2_grpc.ProcessStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def health(self) -> dict[str, str]:
        """Why each part of the process does not serve; empty where it does."""
        answer: pb.Health = self._call(self._stub.GetHealth, pb.GetHealthRequest())
        return dict(sorted(answer.parts.items()))

    def log_levels(self) -> pb.LogLevels:
        """The levels in force."""
        answer: pb.LogLevels = self._call(self._stub.GetLogLevels, pb.GetLogLevelsRequest())
        return answer

    def set_log_level(self, level: str, part: str = "", seconds: float = 0.0) -> pb.LogLevels:
        """Puts a level in force; see `LogLevels.change`."""
        request = pb.SetLogLevelRequest(level=level, part=part, seconds=seconds)
        answer: pb.LogLevels = self._call(self._stub.SetLogLevel, request)
        return answer

    def _call(self, method: Callable[..., _Answer], request: Any) -> _Answer:
        try:
            return method(request, timeout=self._timeout)
        except grpc.RpcError as error:
            assert isinstance(error, grpc.Call)
            code, details = error.code(), error.details()
            if code is grpc.StatusCode.UNAVAILABLE:
                raise ProcessError(f"nobody answers at {self._socket}") from None
            if code is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise ProcessError(f"no answer at {self._socket} within {self._timeout:g} s") from None
            if code is grpc.StatusCode.UNIMPLEMENTED:
                raise ProcessError(f"what answers at {self._socket} says nothing about itself") from None
            raise ProcessError(details or code.name) from None
