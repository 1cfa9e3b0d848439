# SPDX-License-Identifier: Apache-2.0
"""Hearing from the kernel that a file is being written (inotify),
to poll at once rather than at the next interval."""

import asyncio
import contextlib
import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

_IN_MODIFY: Final = 0x00000002


class Modified:
    """Calls `then`, from the event loop, whenever somebody has written to the file. Where the kernel gives no inotify
    (none, or no more instances for this user) it is simply never called."""

    def __init__(self, path: Path, then: Callable[[], None]) -> None:
        self._then = then
        self._loop = asyncio.get_running_loop()
        self._descriptor = _watch(path)
        if self._descriptor is not None:
            self._loop.add_reader(self._descriptor, self._on_readable, self._descriptor)

    def close(self) -> None:
        if self._descriptor is not None:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None

    def _on_readable(self, descriptor: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(descriptor, 65536)  # what was written does not matter, only that something was
        self._then()


def _watch(path: Path) -> int | None:
    """An inotify descriptor that becomes readable on writes to `path`; None when there is none to be had."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = int(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    if descriptor < 0:
        return None
    if libc.inotify_add_watch(descriptor, os.fsencode(path), _IN_MODIFY) < 0:
        os.close(descriptor)
        return None
    return descriptor
