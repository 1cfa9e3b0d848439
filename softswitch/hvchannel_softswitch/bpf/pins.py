# SPDX-License-Identifier: Apache-2.0
"""Names for bpf objects in a bpffs: what is pinned outlives the process that made it."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from pathlib import Path

from hvchannel_softswitch.bpf.syscall import Command, address, attributes, bpf

BPFFS = Path("/sys/fs/bpf")
"""Where a bpffs is, by custom."""

_BPF_FS_MAGIC = 0xCAFE4A11
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 2, 4, 8
_STATFS_BYTES = 256

_OBJ = struct.Struct("=QII")
_libc = ctypes.CDLL(None, use_errno=True)


def is_bpffs(directory: Path) -> bool:
    """Whether the directory exists and is in a bpffs."""
    buffer = ctypes.create_string_buffer(_STATFS_BYTES)
    if _libc.statfs(os.fsencode(directory), buffer) != 0:
        return False
    (kind,) = struct.unpack_from("@l", buffer)
    return bool(kind == _BPF_FS_MAGIC)


def mount(directory: Path = BPFFS) -> bool:
    """Sees to it that `directory` is a bpffs; whether it had to be mounted. Raises OSError."""
    if is_bpffs(directory):
        return False
    flags = ctypes.c_ulong(_MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    if _libc.mount(b"bpf", os.fsencode(directory), b"bpf", flags, b"mode=0700") != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"cannot mount a bpffs: {os.strerror(code)}", str(directory))
    return True


def pin(descriptor: int, path: Path) -> None:
    """Pins the object of a descriptor; directories above `path` are made, inside of the bpffs. Raises OSError
    (FileExistsError when the name is taken)."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not is_bpffs(path.parent):
        raise OSError(
            errno.EINVAL, "not in a bpffs: mount one with `mount -t bpf bpf /sys/fs/bpf`", str(path)
        )
    name = os.fsencode(path) + b"\0"
    if "." in path.name:  # EPERM from the kernel, which reserves them
        raise OSError(errno.EINVAL, "a pin's name has no '.'", str(path))
    try:
        bpf(Command.OBJ_PIN, attributes(_OBJ.pack(address(name), descriptor, 0)))
    except OSError as error:
        raise OSError(error.errno, f"cannot pin: {os.strerror(error.errno or 0)}", str(path)) from error


def get(path: Path) -> int:
    """A new descriptor of the object pinned at `path`. Raises OSError (FileNotFoundError when nothing is)."""
    name = os.fsencode(path) + b"\0"
    try:
        return bpf(Command.OBJ_GET, attributes(_OBJ.pack(address(name), 0, 0)))
    except OSError as error:
        raise OSError(
            error.errno, f"cannot open the pin: {os.strerror(error.errno or 0)}", str(path)
        ) from error


def unpin(path: Path) -> bool:
    """Whether there was a pin; the object goes with its last holder. Raises OSError."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True
