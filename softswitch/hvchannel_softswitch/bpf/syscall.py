# SPDX-License-Identifier: Apache-2.0
"""bpf(2) by ctypes: the call itself, and how its attributes are laid out.

No library stands between: libbpf would add a version to depend on, and what is needed here is a dozen commands.
The layouts are those of `union bpf_attr` in linux/bpf.h, which only ever grows at its end.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from enum import IntEnum
from typing import Self

_NUMBERS = {"x86_64": (321, 324), "aarch64": (280, 283)}
"""bpf and membarrier, by machine."""

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long

NAME_BYTES = 16
"""Of a map's or program's name, its closing zero included."""

_INFO_BYTES = 512
"""More than any bpf_*_info of today; the kernel fills what it knows and zeroes nothing beyond."""

_OBJ_GET_INFO = struct.Struct("=IIQ")


class Command(IntEnum):
    """The commands of bpf(2) in use here."""

    MAP_CREATE = 0
    MAP_LOOKUP_ELEM = 1
    MAP_UPDATE_ELEM = 2
    MAP_DELETE_ELEM = 3
    MAP_GET_NEXT_KEY = 4
    PROG_LOAD = 5
    OBJ_PIN = 6
    OBJ_GET = 7
    PROG_TEST_RUN = 10
    MAP_GET_FD_BY_ID = 14
    OBJ_GET_INFO_BY_FD = 15
    MAP_UPDATE_BATCH = 26
    LINK_CREATE = 28
    LINK_UPDATE = 29
    LINK_DETACH = 34


def _numbers() -> tuple[int, int]:
    try:
        return _NUMBERS[platform.machine()]
    except KeyError:
        known = ", ".join(_NUMBERS)
        raise OSError(
            errno.ENOSYS, f"bpf(2): its number on {platform.machine()} is not known (known: {known})"
        ) from None


def bpf(command: Command, attributes: ctypes.Array[ctypes.c_char]) -> int:
    """One call; `attributes` (see `attributes`) may be written to by the kernel. Returns its result, 0 or a new
    descriptor (close-on-exec). Raises OSError that names the command."""
    number, _ = _numbers()
    result: int = _syscall(number, int(command), attributes, len(attributes))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"bpf({command.name}): {os.strerror(code)}")
    return result


def membarrier(command: int) -> int:
    """membarrier(2) without flags. Raises OSError."""
    _, number = _numbers()
    result: int = _syscall(number, command, 0, 0)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"membarrier({command}): {os.strerror(code)}")
    return result


def attributes(packed: bytes) -> ctypes.Array[ctypes.c_char]:
    """A `union bpf_attr` for one call."""
    return ctypes.create_string_buffer(packed, len(packed))


def address(data: bytes | ctypes.Array[ctypes.c_char]) -> int:
    """Where the bytes are in memory; the caller keeps them alive across the call."""
    if isinstance(data, bytes):
        return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0
    return ctypes.addressof(data)


def object_name(name: str) -> bytes:
    """A name as the kernel takes it: letters, digits, `_` and `.`, at most 15. Raises ValueError."""
    if len(name) >= NAME_BYTES or not all(c.isascii() and (c.isalnum() or c in "_.") for c in name):
        raise ValueError(f"bpf object name {name!r} must be at most 15 letters, digits, '_' or '.'")
    return name.encode()


def object_info(descriptor: int) -> bytes:
    """The bpf_map_info, bpf_prog_info or bpf_link_info of a descriptor, padded with zeros. Raises OSError."""
    info = ctypes.create_string_buffer(_INFO_BYTES)
    bpf(Command.OBJ_GET_INFO_BY_FD, attributes(_OBJ_GET_INFO.pack(descriptor, _INFO_BYTES, address(info))))
    return info.raw


class Descriptor:
    """A bpf object held by a file descriptor; the kernel frees it when the last holder is gone."""

    def __init__(self, descriptor: int) -> None:
        """Takes over `descriptor`, which is closed by `close`."""
        self._fd = descriptor

    @property
    def fd(self) -> int:
        """The descriptor; -1 when closed."""
        return self._fd

    def fileno(self) -> int:
        """The same, as what takes files asks for it."""
        return self._fd

    def close(self) -> None:
        """Lets go of the object. Closing twice is no error."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
