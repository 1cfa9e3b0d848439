# SPDX-License-Identifier: Apache-2.0
"""How a call ends, and how a connection does."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Code(IntEnum):
    """gRPC's status codes, those that this server itself gives."""

    OK = 0
    DEADLINE_EXCEEDED = 4
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14


@dataclass(frozen=True, slots=True)
class Status:
    """`details`: a serialised google.rpc.Status, or nothing."""

    code: int
    message: str = ""
    details: bytes = b""


OK = Status(Code.OK)


class RpcError(Exception):
    """Raised by a method: ends its call with this status."""

    def __init__(self, code: int, message: str, details: bytes = b"") -> None:
        super().__init__(message)
        self.status = Status(code, message, details)


class ErrorCode(IntEnum):
    """HTTP/2's, in RST_STREAM and GOAWAY (RFC 9113, section 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class ConnectionFault(Exception):  # noqa: N818 (the client's fault, not ours)
    """The client broke HTTP/2's rules; its connection ends."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code
