# SPDX-License-Identifier: Apache-2.0
"""Whether KVM works here, by trying: /dev/kvm may exist and yet hang a guest at its first instruction."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

_KVM = Path("/dev/kvm")
_WITHIN = 5.0  # seconds; with KVM it takes a fraction of one
_PORT, _SAID = 0xF4, 0x10
_STATUS = _SAID << 1 | 1  # how isa-debug-exit ends qemu
# mov al, _SAID; out _PORT, al; hlt. A boot sector ends with its signature.
_SECTOR = (bytes([0xB0, _SAID, 0xE6, _PORT, 0xF4])).ljust(510, b"\0") + b"\x55\xaa"


def accelerator(qemu: str) -> tuple[str, str]:
    """qemu's -accel, and why it is that one. `qemu`: the program's path. Blocks for `_WITHIN` seconds at most."""
    if not os.access(_KVM, os.R_OK | os.W_OK):
        return "tcg", f"{_KVM} is not there, or not ours to use"
    with tempfile.NamedTemporaryFile(prefix="hvchannel-kvm-") as disk:
        disk.write(_SECTOR.ljust(1 << 16, b"\0"))
        disk.flush()
        command = (
            *(qemu, "-accel", "kvm", "-machine", "pc", "-m", "16", "-nodefaults", "-display", "none"),
            *("-drive", f"file={disk.name},format=raw,if=ide,readonly=off", "-boot", "c"),
            *("-device", f"isa-debug-exit,iobase={_PORT:#x},iosize=1", "-no-reboot"),
        )
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_WITHIN, check=False)
        except subprocess.TimeoutExpired:
            return "tcg", f"a guest of {len(_SECTOR)} bytes did not end within {_WITHIN:g} s under KVM"
    if done.returncode == _STATUS:
        return "kvm", f"a guest of {len(_SECTOR)} bytes ran under KVM"
    return "tcg", f"KVM: {(done.stderr.strip().splitlines() or ['no word of why'])[-1]}"
