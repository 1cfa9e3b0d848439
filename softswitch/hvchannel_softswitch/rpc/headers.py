# SPDX-License-Identifier: Apache-2.0
"""The headers of requests, as far as a server must know them, and those of responses."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import quote

from hpack import Decoder, Encoder, HPACKError, NeverIndexedHeaderTuple, OversizedHeaderListError

from hvchannel_softswitch.rpc.status import ConnectionFault, ErrorCode, Status

MAX_HEADERS = 64 << 10
"""Bytes of a request's headers: what P4Runtime's clients allow in answers."""

_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
_SECONDS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_INDEXED = 0x80
_LONG_INDEX = 0xFF
_MAX_KEPT = 64
_UNESCAPED = " !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"
"""What grpc-message has as it is, beside letters and digits: all of printable ASCII but the percent sign."""


@dataclass(frozen=True, slots=True)
class Head:
    """What the headers of a request say."""

    method: bytes = b""
    path: str = ""
    content_type: bytes = b""
    encoding: bytes = b"identity"
    timeout: float | None = None
    """In seconds."""

    @property
    def is_grpc(self) -> bool:
        """Whether this is a gRPC call at all."""
        kind, _, _ = self.content_type.partition(b"+")
        return self.method == b"POST" and kind.partition(b";")[0] == b"application/grpc"


T = TypeVar("T")


class HeadReader(Generic[T]):
    """One connection's header decompression, and what is made of the headers.

    A client's calls have the same headers time after time, and after the first these are bytes that only refer to the
    connection's table of headers. Such a block changes nothing in the table (RFC 7541, section 6.1), so until another
    kind of block comes, the same bytes mean the same headers.
    """

    def __init__(self, use: Callable[[Head], T]) -> None:
        """`use` makes the same of the same headers."""
        self._use = use
        self._decoder = Decoder(MAX_HEADERS)
        self._known: dict[bytes, T] = {}

    def read(self, block: bytes) -> T:
        """What is made of these headers. Raises ConnectionFault: whatever is wrong, the table is lost with it."""
        if (known := self._known.get(block)) is not None:
            return known
        try:
            made = self._use(_head(list(self._decoder.decode(block, raw=True))))
        except OversizedHeaderListError as error:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many headers") from error
        except HPACKError as error:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, f"headers: {error}") from error
        if not _is_all_references(block) or len(self._known) >= _MAX_KEPT:
            self._known.clear()
        else:
            self._known[block] = made
        return made


def _is_all_references(block: bytes) -> bool:
    """Whether it is nothing but references of one byte each."""
    return bool(block) and min(block) >= _INDEXED and max(block) < _LONG_INDEX


def _head(headers: list[tuple[bytes, bytes]]) -> Head:
    found = dict(headers)
    return Head(
        method=found.get(b":method", b""),
        path=found.get(b":path", b"").decode("latin-1"),
        content_type=found.get(b"content-type", b""),
        encoding=found.get(b"grpc-encoding", b"identity"),
        timeout=_seconds(found.get(b"grpc-timeout", b"")),
    )


def _seconds(text: bytes) -> float | None:
    match = _TIMEOUT.fullmatch(text)
    return None if match is None else int(match[1]) * _SECONDS[match[2]]


def _block(*headers: tuple[str, str]) -> bytes:
    """Compressed headers that neither use nor change the connection's table: the same bytes for every client."""
    return Encoder().encode([NeverIndexedHeaderTuple(*header) for header in headers], huffman=False)


_START = ((":status", "200"), ("content-type", "application/grpc"))

_ALONE = (*_START, ("grpc-accept-encoding", "identity"))

START = _block(*_START)
"""Of a response with messages."""

OK_END = _block(("grpc-status", "0"))
"""The trailers of a call that went well."""

NOT_GRPC = _block((":status", "415"))
"""The whole response to what is no gRPC call."""


def ending(status: Status, *, is_started: bool) -> bytes:
    """The trailers that say this status; or, with no messages before them, the whole response."""
    if is_started and not status.code:
        return OK_END
    headers = [("grpc-status", str(int(status.code)))]
    if status.message:
        headers.append(("grpc-message", quote(status.message, safe=_UNESCAPED)))
    if status.details:
        text = base64.b64encode(status.details).decode().rstrip("=")
        headers.append(("grpc-status-details-bin", text))
    return _block(*(() if is_started else _ALONE), *headers)
