# SPDX-License-Identifier: Apache-2.0
"""The bpffs that pins live in: mounted where it is missing, and looked for outside of a mount namespace of our own.

A pin lasts as long as its bpffs, and a bpffs as long as something has it mounted. `ip netns exec` (and much that starts
services) runs its program in a mount namespace of its own with a fresh /sys: a bpffs mounted there is gone with the
program. So the one of the ancestors' mount namespace is used then, through a descriptor.
"""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

BPFFS = Path("/sys/fs/bpf")
"""Where a bpffs is, by custom."""

_BPF_FS_MAGIC = 0xCAFE4A11
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 2, 4, 8
_STATFS_BYTES = 256
_MOUNT_SECONDS = 10

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Home:
    """A bpffs to pin in. `path`: how this process reaches it (for one of another mount namespace, below /proc/self/fd,
    as long as `close` was not called). `lasting`: whether it outlives this process. `note`: what a log should say of
    the choice; empty when it is the usual place."""

    path: Path
    lasting: bool
    note: str = ""
    _descriptor: int = -1

    def close(self) -> None:
        """Lets go of a bpffs of another mount namespace; call it once."""
        if self._descriptor >= 0:
            os.close(self._descriptor)


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


def find(directory: Path = BPFFS) -> Home:
    """A bpffs at `directory`, mounted if need be: this process's, or, when its mount namespace is not that of its
    ancestors, theirs. Raises OSError."""
    outer = _outermost_ancestor()
    if outer is None or _same(Path(f"/proc/{outer}/ns/mnt"), Path("/proc/self/ns/mnt")):
        mount(directory)
        return Home(directory, lasting=True)
    theirs = Path(f"/proc/{outer}/root{directory}")
    if is_bpffs(directory) and _same(theirs, directory):
        return Home(directory, lasting=True)
    if not is_bpffs(theirs):
        _mount_for(outer, directory)
    if is_bpffs(theirs):
        descriptor = os.open(theirs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        note = f"this process has a mount namespace of its own; pinning in {directory} of process {outer}'s"
        return Home(Path(f"/proc/self/fd/{descriptor}"), lasting=True, note=note, _descriptor=descriptor)
    mount(directory)
    note = (
        f"this process has a mount namespace of its own, and no bpffs is in reach outside of it: what is pinned in "
        f"{directory} goes with this process. `mount -t bpf bpf {directory}` before `ip netns exec` prevents that"
    )
    return Home(directory, lasting=False, note=note)


def _mount_for(process: int, directory: Path) -> None:
    """Mounts a bpffs in the mount namespace of a process, by a child: a thread cannot enter one alone. That it did not
    work shows in its not being there."""
    command = [
        "nsenter",
        f"--mount=/proc/{process}/ns/mnt",
        "mount",
        "-t",
        "bpf",
        "-o",
        "nosuid,nodev,noexec,mode=0700",
    ]
    with suppress(OSError, subprocess.SubprocessError):
        subprocess.run(
            [*command, "bpf", str(directory)], capture_output=True, timeout=_MOUNT_SECONDS, check=False
        )


def _outermost_ancestor() -> int | None:
    """The furthest ancestor whose namespaces may be looked at; None when there is none."""
    outermost = None
    for process in _ancestors():
        with suppress(OSError):
            Path(f"/proc/{process}/ns/mnt").stat()
            outermost = process
    return outermost


def _ancestors() -> Iterator[int]:
    process = os.getppid()
    while process:
        yield process
        try:
            status = Path(f"/proc/{process}/stat").read_text()
        except OSError:
            return
        process = int(status.rpartition(")")[2].split()[1])  # the name, in brackets, may hold anything


def _same(one: Path, other: Path) -> bool:
    """Whether two paths lead to the same inode, or (of bpffs) to the same file system's root."""
    try:
        return one.samefile(other)
    except OSError:
        return False
