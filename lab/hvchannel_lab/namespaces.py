# SPDX-License-Identifier: Apache-2.0
"""Being in a named network namespace for a moment, and running a command in one."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hvchannel_lab import enter

NAMESPACES = Path("/run/netns")
_ENTER = Path(enter.__file__)


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """The calling thread, and it alone, is in the namespace until the block ends. Never await in the block.

    Sockets made in it stay in that namespace; /proc/sys/net is that namespace's too. Raises OSError.
    """
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        away = os.open(NAMESPACES / namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            enter.set_namespace(away)
        finally:
            os.close(away)
        try:
            yield
        finally:
            enter.set_namespace(home)
    finally:
        os.close(home)


def command_in(namespace: str | None, argv: Sequence[str]) -> list[str]:
    """The command line that runs `argv` in the namespace (None: in that of the caller).

    What it runs dies with the thread that starts it, hence with the calling process.
    """
    return [sys.executable, "-I", "-S", str(_ENTER), namespace or "-", str(os.getpid()), "--", *argv]


def existing() -> list[str]:
    """The names of all network namespaces of this machine."""
    return sorted(path.name for path in NAMESPACES.iterdir()) if NAMESPACES.is_dir() else []
