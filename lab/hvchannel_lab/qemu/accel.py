# SPDX-License-Identifier: Apache-2.0
"""Whether KVM works here, by trying: /dev/kvm may exist and yet hang a guest at its first instruction, or later."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path

_KVM = Path("/dev/kvm")
_WITHIN = 5.0  # seconds; with KVM it takes a fraction of one
_KERNEL_WITHIN = 20.0  # seconds; with KVM it takes one or two
_NO_INIT = b"VFS: Unable to mount root fs"
KERNEL_WORDS = "console=ttyS0 no_timer_check"
"""Of every guest's kernel. Where the host is busy and there is no KVM, timer interrupts come late, and the kernel's
check of them would end in a panic."""
_PORT, _SAID = 0xF4, 0x10
_STATUS = _SAID << 1 | 1  # how isa-debug-exit ends qemu
# mov al, _SAID; out _PORT, al; hlt. A boot sector ends with its signature.
_SECTOR = (bytes([0xB0, _SAID, 0xE6, _PORT, 0xF4])).ljust(510, b"\0") + b"\x55\xaa"


def accelerator(qemu: str, kernel: Path, initramfs: Path) -> tuple[str, str]:
    """qemu's -accel, and why it is that one. `qemu`: the program's path. Blocks for some seconds at most."""
    if not os.access(_KVM, os.R_OK | os.W_OK):
        return "tcg", f"{_KVM} is not there, or not ours to use"
    with tempfile.NamedTemporaryFile(prefix="hvchannel-kvm-") as disk:
        disk.write(_SECTOR.ljust(1 << 16, b"\0"))
        disk.flush()
        kvm = _seconds(qemu, disk.name, "kvm")
        if isinstance(kvm, str):
            return "tcg", f"KVM: {kvm}"
        tcg = _seconds(qemu, disk.name, "tcg")
    # KVM that a hypervisor below emulates for us may be there and slower than none
    if isinstance(tcg, float) and kvm > tcg:
        return "tcg", f"a tiny guest took {kvm:.1f} s under KVM, and {tcg:.1f} s without"
    booted = kernel_boots(qemu, "kvm", kernel, initramfs, _KERNEL_WITHIN)
    if isinstance(booted, str):
        return "tcg", f"KVM: {booted}"
    return "kvm", f"a tiny guest took {kvm:.1f} s under KVM"


def cpu(accel: str) -> str:
    """qemu's -cpu for it."""
    return "host" if accel == "kvm" else "max"


def kernel_boots(qemu: str, accel: str, kernel: Path, initramfs: Path, within: float) -> float | str:
    """Seconds until a guest's kernel comes to the end of its own start, where it panics for want of an init; or why it
    does not within so many seconds."""
    command = (
        *(qemu, "-accel", accel, "-cpu", cpu(accel), "-machine", "pc", "-m", "256", "-nodefaults"),
        *("-display", "none", "-no-reboot", "-serial", "stdio"),
        *("-kernel", str(kernel), "-initrd", str(initramfs)),
        *("-append", f"{KERNEL_WORDS} panic=-1 rdinit=/none"),
    )
    began = time.monotonic()
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=within, check=False
        )
    except subprocess.TimeoutExpired:
        return f"a guest's kernel did not start within {within:g} s"
    if _NO_INIT in done.stdout:
        return time.monotonic() - began
    said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
    return (said or ["a guest's kernel ended with no word of why"])[-1]


def _seconds(qemu: str, disk: str, accel: str) -> float | str:
    """How long a tiny guest took, or why it did not come to its end."""
    command = (
        *(qemu, "-accel", accel, "-cpu", cpu(accel), "-machine", "pc", "-m", "16", "-nodefaults"),
        *("-display", "none", "-drive", f"file={disk},format=raw,if=ide", "-no-reboot"),
        *("-device", f"isa-debug-exit,iobase={_PORT:#x},iosize=1"),
    )
    began = time.monotonic()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_WITHIN, check=False)
    except subprocess.TimeoutExpired:
        return f"a tiny guest did not end within {_WITHIN:g} s"
    if done.returncode == _STATUS:
        return time.monotonic() - began
    return (done.stderr.strip().splitlines() or ["no word of why"])[-1]
