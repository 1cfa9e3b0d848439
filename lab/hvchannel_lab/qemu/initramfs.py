# SPDX-License-Identifier: Apache-2.0
"""An initramfs: busybox, the drivers that a guest needs, and a script that loads them and goes on to the root."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from hvchannel_lab.qemu.packages import ImageError

# What the kernel has built in is passed over.
_DRIVERS = (
    *("virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "virtio_rng", "ext4", "veth"),
    *("vmw_vsock_virtio_transport", "acpiphp"),
)
_OPTIONAL = ("virtio_rng", "vmw_vsock_virtio_transport", "acpiphp")
SCRIPT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /new
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
for module in $(/bin/busybox cat /modules/order); do
  /bin/busybox insmod "/modules/$module" || echo "initramfs: $module was not loaded"
done
for try in 1 2 3 4 5 6 7 8 9; do
  [ -b /dev/vda ] && break
  /bin/busybox sleep 0.2
done
/bin/busybox mount -t ext4 -o ro,noatime /dev/vda /new || echo "initramfs: no root file system on /dev/vda"
/bin/busybox mount -t ext4 -o ro,noatime /dev/vdb /new/opt/hvchannel || echo "initramfs: no wheel on /dev/vdb"
/bin/busybox mount -t ext4 -o noatime /dev/vdc /new/state || echo "initramfs: no state on /dev/vdc"
for where in run tmp; do /bin/busybox mount -t tmpfs $where /new/$where; done
for where in proc sys dev; do /bin/busybox mount --move /$where /new/$where; done
export PYTHONPATH=/opt/hvchannel PATH=/opt/hvchannel/bin:/usr/bin:/bin:/usr/sbin:/sbin
export HOME=/root LC_ALL=C.UTF-8 PYTHONUNBUFFERED=1
exec /bin/busybox switch_root /new /usr/bin/{python} -m hvchannel_lab.guest
"""


def make(kernel: Path, release: str, busybox: Path, into: Path) -> None:
    """`kernel`: an unpacked kernel package. Raises ImageError, OSError."""
    archive = _Archive()
    for folder in ("bin", "modules", "dev", "new"):
        archive.folder(folder)
    archive.file("bin/busybox", busybox.read_bytes(), 0o755)
    # the console must exist before the first line of the script
    archive.device("dev/console", 5, 1)
    order = list(_in_order(kernel, release))
    for module in order:
        archive.file(f"modules/{module.name}", module.read_bytes())
    archive.file("modules/order", "".join(f"{module.name}\n" for module in order).encode())
    script = SCRIPT.replace("{python}", f"python{sys.version_info[0]}.{sys.version_info[1]}")
    archive.file("init", script.encode(), 0o755)
    into.write_bytes(gzip.compress(archive.whole(), 1, mtime=0))


def _in_order(kernel: Path, release: str) -> Iterator[Path]:
    """The drivers, each after those that it needs."""
    base = kernel / "lib/modules" / release
    try:
        subprocess.run(["depmod", "-b", str(kernel), release], check=True, capture_output=True)
    except FileNotFoundError:
        raise ImageError("program 'depmod': not on PATH; apt-get install kmod") from None
    needs: dict[str, list[str]] = {}
    by_name: dict[str, str] = {}
    for line in (base / "modules.dep").read_text(encoding="utf-8").splitlines():
        path, _, rest = line.partition(":")
        needs[path] = rest.split()
        by_name[Path(path).name.partition(".")[0].replace("-", "_")] = path
    # crc32c is asked for by ext4 at run time and is in no dependency
    wanted = [*_built_in_or(by_name, ("crc32c_generic", "crc32c_intel")), *_DRIVERS]
    built_in = {
        Path(line).name.partition(".")[0].replace("-", "_") for line in _lines(base / "modules.builtin")
    }
    done: set[str] = set()
    for name in wanted:
        if name in by_name:
            for path in (*reversed(needs[by_name[name]]), by_name[name]):
                if path not in done:
                    done.add(path)
                    yield base / path
        elif name not in built_in and name not in _OPTIONAL:
            raise ImageError(f"kernel {release} has no driver {name}")


def _built_in_or(by_name: dict[str, str], names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if name in by_name)


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


class _Archive:
    """cpio, format "newc" (Documentation/driver-api/early-userspace/buffer-format.rst)."""

    def __init__(self) -> None:
        self._out = io.BytesIO()
        self._number = 0

    def folder(self, name: str) -> None:
        self._add(name, 0o040755, b"")

    def file(self, name: str, content: bytes, mode: int = 0o644) -> None:
        self._add(name, 0o100000 | mode, content)

    def device(self, name: str, major: int, minor: int) -> None:
        self._add(name, 0o020600, b"", (major, minor))

    def whole(self) -> bytes:
        self._add("TRAILER!!!", 0, b"")
        return self._out.getvalue()

    def _add(self, name: str, mode: int, content: bytes, device: tuple[int, int] = (0, 0)) -> None:
        self._number += 1
        path = name.encode() + b"\0"
        fields = (self._number, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(path), 0)
        self._out.write(b"070701" + "".join(f"{field:08X}" for field in fields).encode() + path)
        self._pad()
        self._out.write(content)
        self._pad()

    def _pad(self) -> None:
        self._out.write(bytes(-self._out.tell() % 4))
