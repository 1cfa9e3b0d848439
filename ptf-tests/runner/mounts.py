# SPDX-License-Identifier: Apache-2.0
"""Places of a bench's own, in the mount namespace that this process is in, for what is to end with it."""

from __future__ import annotations

import subprocess


def furnish() -> None:
    """A /run and a bpffs: whatever a switch pins and notes there is gone with the last process, however it ends. Raises
    CalledProcessError."""
    for kind, place in (("tmpfs", "/run"), ("bpf", "/sys/fs/bpf")):
        subprocess.run(["mount", "-t", kind, kind, place], check=True)
