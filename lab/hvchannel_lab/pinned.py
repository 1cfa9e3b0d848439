# SPDX-License-Identifier: Apache-2.0
"""What a vSwitch in the kernel leaves when its process is killed: a program that goes on forwarding, pinned under the
vSwitch's name. Its successor takes it over; where there is to be none, it is ended here.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hvchannel_lab.installation import program_path

RUN = Path("/run/softswitch")
"""softswitch keeps a folder here for each switch of which something is pinned, by its name."""

_WITHIN = 10.0  # seconds for a process that was killed to be gone
_POLL = 0.05  # seconds
_AT_ONCE = 4


def names() -> list[str]:
    """Of all switches that have something pinned, whether their process runs or not."""
    return sorted(path.name for path in RUN.iterdir()) if RUN.is_dir() else []


def end(switches: Iterable[str]) -> None:
    """Ends what these left, if they did; their processes have ended or are about to. Raises OSError."""
    left = [name for name in switches if (RUN / name).is_dir()]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(_end, left))


def _end(name: str) -> None:
    command = [program_path("softswitch"), "--stop", "--name", name]
    deadline = time.monotonic() + _WITHIN
    while True:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        if time.monotonic() > deadline:  # until then its process may be on its way out
            raise OSError(f"what vSwitch {name} left in the kernel cannot be ended: {done.stderr.strip()}")
        time.sleep(_POLL)
