# SPDX-License-Identifier: Apache-2.0
"""An interface's features (`ethtool -k`) by their kernel names: read, and wanted or no longer wanted.

ethtool's ioctl (linux/ethtool.h) rather than its netlink family: it works on every kernel, and on a plain socket of
another namespace.
"""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass

_SIOCETHTOOL = 0x8946
_GSTRINGS, _GSSET_INFO, _GFEATURES, _SFEATURES = 0x1B, 0x37, 0x3A, 0x3B
_SET_OF_FEATURES = 4
_NAME_BYTES = 32
_WORD_BITS = 32
_GET_BLOCK, _SET_BLOCK = struct.Struct("=IIII"), struct.Struct("=II")


@dataclass(frozen=True, slots=True)
class Feature:
    """`active`: in effect now; `wanted`: asked for, though what it needs may be missing; `changeable`: whether asking
    makes a difference."""

    active: bool
    wanted: bool
    changeable: bool


class _Request(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char * 16), ("data", ctypes.c_void_p), ("_rest", ctypes.c_char * 16))


class Features:
    """The features of the interfaces of one network namespace: that of `sock`, which becomes this object's."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._names: list[str] = []

    def read(self, interface: str) -> dict[str, Feature]:
        """By name, such as "rx-gro" or "tx-checksum-ip-generic". Raises OSError."""
        names = self._all(interface)
        words = -(-len(names) // _WORD_BITS)
        reply = self._call(interface, struct.pack("=II", _GFEATURES, words) + bytes(_GET_BLOCK.size * words))
        blocks = [_GET_BLOCK.unpack_from(reply, 8 + _GET_BLOCK.size * word) for word in range(words)]

        def feature(index: int) -> Feature:
            available, wanted, active, never_changed = blocks[index // _WORD_BITS]
            bit = 1 << index % _WORD_BITS
            return Feature(bool(active & bit), bool(wanted & bit), bool(available & bit & ~never_changed))

        return {name: feature(index) for index, name in enumerate(names) if name}

    def want(self, interface: str, changes: Mapping[str, bool]) -> None:
        """Asks for features, or asks for them no longer; what the kernel does not know or cannot change stays as it is.
        Raises OSError."""
        names = self._all(interface)
        words = -(-len(names) // _WORD_BITS)
        valid, wanted = [0] * words, [0] * words
        for index, name in enumerate(names):
            if name in changes:
                bit = 1 << index % _WORD_BITS
                valid[index // _WORD_BITS] |= bit
                wanted[index // _WORD_BITS] |= bit if changes[name] else 0
        blocks = b"".join(_SET_BLOCK.pack(*block) for block in zip(valid, wanted, strict=True))
        self._call(interface, struct.pack("=II", _SFEATURES, words) + blocks)

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()

    def _all(self, interface: str) -> list[str]:
        """The names, by bit; the kernel's, so the same for all interfaces."""
        if not self._names:
            request = struct.pack("=IIQI", _GSSET_INFO, 0, 1 << _SET_OF_FEATURES, 0)
            (count,) = struct.unpack_from("=I", self._call(interface, request), 16)
            request = struct.pack("=III", _GSTRINGS, _SET_OF_FEATURES, count) + bytes(_NAME_BYTES * count)
            table = self._call(interface, request)[12:]
            starts = range(0, _NAME_BYTES * count, _NAME_BYTES)
            self._names = [table[start : start + _NAME_BYTES].split(b"\0")[0].decode() for start in starts]
        return self._names

    def _call(self, interface: str, packed: bytes) -> bytes:
        buffer = ctypes.create_string_buffer(packed, len(packed))
        request = _Request(interface.encode(), ctypes.addressof(buffer))
        try:
            fcntl.ioctl(self._socket, _SIOCETHTOOL, request)
        except OSError as error:
            (command,) = struct.unpack_from("=I", packed)
            raise OSError(
                error.errno, f"ethtool command {command:#x} on {interface}: {error.strerror}"
            ) from None
        return buffer.raw
