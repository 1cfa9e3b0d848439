# SPDX-License-Identifier: Apache-2.0
"""gRPC's messages in HTTP/2's data: a byte that says whether it is compressed, four of length, the message."""

from __future__ import annotations

import struct

from hvchannel_softswitch.rpc.status import Code, RpcError

PREFIX = struct.Struct(">BI")


def framed(message: bytes) -> bytes:
    """The message as it travels."""
    return PREFIX.pack(0, len(message)) + message


def only_message(data: bytes) -> bytes | None:
    """The message, where the data is one message and nothing else, as a short request's is."""
    if len(data) < PREFIX.size or PREFIX.unpack_from(data) != (0, len(data) - PREFIX.size):
        return None
    return data[PREFIX.size :]


class MessageReader:
    """Takes data as it comes in, gives messages as they are whole."""

    def __init__(self, limit: int) -> None:
        """`limit`: bytes of the longest message."""
        self._limit = limit
        self._data = bytearray()

    @property
    def is_empty(self) -> bool:
        """Whether no message is half there."""
        return not self._data

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that these bytes complete. Raises RpcError for one that is too long, or compressed."""
        found: list[bytes] = []
        self._data += data
        while (length := self._length(self._data)) is not None:
            end = PREFIX.size + length
            if len(self._data) < end:
                break
            found.append(bytes(self._data[PREFIX.size : end]))
            del self._data[:end]
        return found

    def _length(self, data: bytearray) -> int | None:
        """Of the first message, if the data says it already."""
        if len(data) < PREFIX.size:
            return None
        is_compressed, length = PREFIX.unpack_from(data)
        if is_compressed:
            raise RpcError(
                Code.UNIMPLEMENTED, "messages must not be compressed (valid grpc-encoding: identity)"
            )
        if length > self._limit:
            raise RpcError(
                Code.RESOURCE_EXHAUSTED, f"message of {length} bytes is too long (valid: up to {self._limit})"
            )
        return int(length)
