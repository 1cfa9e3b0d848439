# SPDX-License-Identifier: Apache-2.0
"""One hostd at a time serves a feed in a file: it holds a lock on a file beside it for as long as it lives."""

import asyncio
import fcntl
import os
from pathlib import Path

from hvchannel_daemons.feed.interface import FeedClaimedError


class ServerLock:
    def __init__(self, feed: Path) -> None:
        self._feed = feed
        self._path = feed.with_name(feed.name + ".hostd")
        self._descriptor: int | None = None

    def take(self) -> None:
        """Raises FeedClaimedError."""
        descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise FeedClaimedError(f"feed {self._feed}: another hostd serves it") from error
        self._descriptor = descriptor

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    async def is_held(self) -> bool:
        """By us or by another process."""
        return self._descriptor is not None or await asyncio.to_thread(self._is_held_elsewhere)

    def _is_held_elsewhere(self) -> bool:
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False
