# SPDX-License-Identifier: Apache-2.0
"""What a process has of the machine, by /proc (proc(5))."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """At one moment."""

    memory: int  # bytes resident
    descriptors: int  # open files, sockets and BPF objects
    threads: int
    cpu: float  # seconds so far, of all its threads

    @classmethod
    def of(cls, pid: int) -> Usage:
        """Raises OSError when there is no such process."""
        folder = Path(f"/proc/{pid}")
        status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        times = (folder / "stat").read_text().rpartition(")")[2].split()
        return cls(
            memory=int(status["VmRSS"].split()[0]) * 1024,
            descriptors=len(list((folder / "fd").iterdir())),
            threads=int(status["Threads"]),
            cpu=(int(times[11]) + int(times[12])) / _TICKS,
        )


def allow_descriptors(count: int) -> None:
    """Raises this process's limit of open files to `count`, for what it starts too. Raises OSError, which says what to
    change."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= count:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, max(count, hard)))
    except (ValueError, OSError) as error:
        raise OSError(
            f"needs {count} open files, and the limit is {hard}: ulimit -Hn {count} (and sysctl fs.nr_open)"
        ) from error
