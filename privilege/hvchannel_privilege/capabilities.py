# SPDX-License-Identifier: Apache-2.0
"""capabilities(7) of this process, given up for good.

By prctl(2) and capset(2) themselves: the packages that wrap them have had no release for years, or need a C compiler.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterable
from enum import IntEnum
from pathlib import Path


class Capability(IntEnum):
    """Those that some program of the project may want to keep, by their number in linux/capability.h."""

    CHOWN = 0
    DAC_OVERRIDE = 1
    KILL = 5
    NET_ADMIN = 12
    NET_RAW = 13
    SYS_CHROOT = 18
    SYS_PTRACE = 19
    SYS_ADMIN = 21
    PERFMON = 38
    BPF = 39


_VERSION_3 = 0x20080522
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_SETS = struct.Struct("=6I")
"""Effective, permitted and inheritable: of capabilities 0 to 31, then of 32 to 63."""
_LAST = Path("/proc/sys/kernel/cap_last_cap")

_libc = ctypes.CDLL(None, use_errno=True)


def drop(keep: Iterable[Capability] = (), *, but_not_of_children: bool = False) -> frozenset[Capability]:
    """Gives up all capabilities but `keep`, and what a program that this process starts could gain by being setuid or
    having capabilities of its own. Returns what is left: `keep`, as far as it was there.

    `but_not_of_children`: programs started from here still have what root, or their files, give them. Then what this
    process gave up is out of its own reach only, not of what it starts.

    Holds for the calling thread and for those it starts from now on: to be called before there are others. Raises
    OSError.
    """
    wanted = frozenset(keep)
    if not but_not_of_children:
        for number in range(_last() + 1):
            # Before the sets: it takes CAP_SETPCAP. Who lacks that was started with less already.
            if number not in wanted and _prctl(_PR_CAPBSET_DROP, number) == errno.EPERM:
                break
        _raise(_prctl(_PR_SET_NO_NEW_PRIVS, 1))
    left = frozenset(number for number in wanted if _permitted() >> number & 1)
    _set(sum(1 << number for number in left))
    return left


def _last() -> int:
    return int(_LAST.read_text())


def _header() -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(struct.pack("=Ii", _VERSION_3, 0))


def _permitted() -> int:
    sets = ctypes.create_string_buffer(_SETS.size)
    _raise(_outcome(_libc.capget(_header(), sets)))
    _, low, _, _, high, _ = _SETS.unpack(sets.raw)
    return int(low | high << 32)


def _set(mask: int) -> None:
    """Effective and permitted; nothing inheritable, which ends ambient capabilities, too."""
    low, high = mask & 0xFFFFFFFF, mask >> 32
    sets = ctypes.create_string_buffer(_SETS.pack(low, low, 0, high, high, 0), _SETS.size)
    code = _outcome(_libc.capset(_header(), sets))
    if code == errno.EPERM and _permitted() == mask:
        return  # a service manager's filter refuses the call, after having left no more than this
    _raise(code)


def _prctl(option: int, value: int) -> int:
    zero = ctypes.c_ulong(0)
    return _outcome(_libc.prctl(option, ctypes.c_ulong(value), zero, zero, zero))


def _outcome(returned: int) -> int:
    return 0 if returned == 0 else ctypes.get_errno()


def _raise(code: int) -> None:
    if code:
        raise OSError(code, f"cannot give up capabilities: {os.strerror(code)}")
