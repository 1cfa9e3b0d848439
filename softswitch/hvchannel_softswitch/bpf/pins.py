# SPDX-License-Identifier: Apache-2.0
"""Names for bpf objects in a bpffs: what is pinned outlives the process that made it."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

from hvchannel_softswitch.bpf.bpffs import is_bpffs
from hvchannel_softswitch.bpf.syscall import Command, address, attributes, bpf

_OBJ = struct.Struct("=QII")


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
