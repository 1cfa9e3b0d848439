# SPDX-License-Identifier: Apache-2.0
"""What a machine must have for VMs that are machines, looked at before anything is made."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import struct
from pathlib import Path

from hvchannel_lab.qemu import tap

QEMU = "qemu-system-x86_64"
MEMORY = 512  # MiB of a guest
_HOST_MEMORY = 256  # MiB beside it: qemu's own, and what the lab's programs take
_DISK = 1536  # MiB in the cache: an image, and what it is made of
_PROGRAMS = {
    QEMU: "qemu-system-x86",
    "mkfs.ext4": "e2fsprogs",
    "depmod": "kmod",
    "apt-get": "apt; guests are made from Debian packages, on Debian",
    "dpkg-deb": "dpkg",
}
"""By name, and the Debian package that has it."""
_TUN = Path("/dev/net/tun")


def lacking(vms: int, cache: Path) -> str:
    """Why so many VMs cannot be had here, in one line that says what would be right; "" where nothing is known to be
    in the way. `cache`: where images are kept, there or not."""
    if os.uname().machine != "x86_64":
        return f"VMs that are machines: this one is {os.uname().machine}, and guests are made for x86_64 only"
    for program, package in _PROGRAMS.items():
        if shutil.which(program) is None:
            return f"program {program!r}: not on PATH; apt-get install {package}"
    return _no_tap() or _no_memory(vms) or _no_room(cache)


def _no_tap() -> str:
    """A tap of no name that stays, in this namespace: it is gone again when its descriptor is closed."""
    try:
        descriptor = os.open(_TUN, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return f"{_TUN}: {error.strerror}; a VNIC is a tap: `modprobe tun`, in a container `--device {_TUN}`"
    try:
        fcntl.ioctl(descriptor, tap.TUNSETIFF, struct.pack("16sH22x", b"hvcprobe%d", tap.FLAGS))
    except OSError as error:
        known = "CAP_NET_ADMIN is wanting" if error.errno == errno.EPERM else error.strerror
        return f"{_TUN}: no tap can be made ({known}); be root, in a container with `--privileged`"
    finally:
        os.close(descriptor)
    return ""


def _no_memory(vms: int) -> str:
    wanted = vms * MEMORY + _HOST_MEMORY
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable" and (free := int(value.split()[0]) >> 10) < wanted:
            return f"{vms} VMs that are machines: {wanted} MiB of memory are wanted, {free} MiB are available"
    return ""


def _no_room(cache: Path) -> str:
    there = next(folder for folder in (cache, *cache.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(there).free >> 20
    if free < _DISK:
        return (
            f"{cache}: {_DISK} MiB are wanted for the guests' image, {free} MiB are free; HVCHANNEL_CACHE names "
            "another folder"
        )
    return ""
