# SPDX-License-Identifier: Apache-2.0
"""Names for bpf objects in a bpffs: what is pinned outlives the process that made it."""

from __future__ import annotations

import errno
import os
import struct
from enum import StrEnum
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


class PinKind(StrEnum):
    """What can be pinned, as /proc/self/fd names it (a link with `-` or `_`, by how the descriptor came about)."""

    MAP = "bpf-map"
    PROGRAM = "bpf-prog"
    LINK = "bpf-link"


def get(path: Path, kind: PinKind) -> int:
    """A new descriptor of the object pinned at `path`. Raises OSError (FileNotFoundError when nothing is; EINVAL when
    it is of another kind)."""
    name = os.fsencode(path) + b"\0"
    try:
        descriptor = bpf(Command.OBJ_GET, attributes(_OBJ.pack(address(name), 0, 0)))
    except OSError as error:
        raise OSError(
            error.errno, f"cannot open the pin: {os.strerror(error.errno or 0)}", str(path)
        ) from error
    # A program's information looks like a link's to who does not know what it is of.
    found = Path(f"/proc/self/fd/{descriptor}").readlink().name.removeprefix("anon_inode:").replace("_", "-")
    if found != kind:
        os.close(descriptor)
        raise OSError(errno.EINVAL, f"the pin is of a {found}, not of a {kind}", str(path))
    return descriptor


def unpin(path: Path) -> bool:
    """Whether there was a pin; the object goes with its last holder. Raises OSError."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True
