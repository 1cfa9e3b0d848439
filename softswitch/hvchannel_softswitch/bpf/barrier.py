# SPDX-License-Identifier: Apache-2.0
"""What user space must know of the CPUs that run programs: how many there may be, and when they have all moved on."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from hvchannel_softswitch.bpf.syscall import membarrier

_MEMBARRIER_CMD_GLOBAL = 1
_POSSIBLE = Path("/sys/devices/system/cpu/possible")


def synchronize() -> None:
    """Returns when every run of an XDP program that began before the call has ended; takes milliseconds.

    MEMBARRIER_CMD_GLOBAL waits for an RCU grace period, and a program runs inside of an RCU read section.
    Raises OSError (EINVAL on a kernel with nohz_full CPUs, which has no such command).
    """
    membarrier(_MEMBARRIER_CMD_GLOBAL)


@cache
def possible_cpus() -> int:
    """How many CPUs this machine may ever have: what the values of a per-CPU map have room for. Raises OSError."""
    return parse_cpu_list(_POSSIBLE.read_text())


def parse_cpu_list(text: str) -> int:
    """How many slots a list like "0-3,8" asks for. The kernel numbers from 0 and counts up to the highest: a hole
    has its slot too."""
    return max(int(part.rpartition("-")[2]) for part in text.strip().split(",")) + 1
