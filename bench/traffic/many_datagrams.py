# SPDX-License-Identifier: Apache-2.0
"""sendmmsg(2) and recvmmsg(2), which Python's socket module lacks: a call per 64 datagrams costs the two ends of a
measurement so little that it is the path between them which is measured."""

from __future__ import annotations

import ctypes
import os
import socket

BATCH = 64
_MSG_WAITFORONE = 0x10000  # <sys/socket.h>: block for the first datagram only


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """struct msghdr, recvmsg(2)."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint),
        ("vectors", ctypes.POINTER(_Vector)),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    """struct mmsghdr, recvmmsg(2). `length`: the bytes that went."""

    _fields_ = (("header", _Header), ("length", ctypes.c_uint))


class Datagrams:
    """Sends or receives up to `BATCH` datagrams of one size over a connected or bound socket, per call."""

    def __init__(self, own: socket.socket, size: int) -> None:
        self._own = own.fileno()
        self._buffer = ctypes.create_string_buffer(size)
        self._vector = _Vector(ctypes.addressof(self._buffer), size)
        self._messages = (_Message * BATCH)()
        for message in self._messages:
            message.header.vectors = ctypes.pointer(self._vector)
            message.header.vector_count = 1
        libc = ctypes.CDLL(None, use_errno=True)
        self._send, self._receive = libc.sendmmsg, libc.recvmmsg

    def hold(self, content: bytes) -> None:
        """What `send` sends from now on: as many bytes as the size."""
        ctypes.memmove(self._buffer, content, len(content))

    def send(self) -> int:
        """How many have gone. Raises OSError."""
        return self._count(self._send(self._own, self._messages, BATCH, 0))

    def receive(self) -> int:
        """How many have come; waits for the first. Raises OSError: BlockingIOError after the socket's SO_RCVTIMEO."""
        return self._count(self._receive(self._own, self._messages, BATCH, _MSG_WAITFORONE, None))

    @staticmethod
    def _count(returned: int) -> int:
        if returned < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return returned
