# SPDX-License-Identifier: Apache-2.0
"""Noticing a client that is gone without a word: its machine died, or the way to it is cut.

Without this its calls stay open for ever, and with them what they hold: a controller that comes back finds its own old
stream still primary.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

INTERVAL = 5.0
"""Seconds without a word of the client until it is asked, and again until it is given up."""


class KeepAlive:
    """Of one connection. `ask` sends a PING; `gone` ends the connection; `unread` is how many bytes it has not taken.

    `heard` is to be called whenever something has come.
    """

    def __init__(self, ask: Callable[[], None], gone: Callable[[], None], unread: Callable[[], int]) -> None:
        self._ask, self._gone, self._unread = ask, gone, unread
        self._interval = INTERVAL
        self._loop = asyncio.get_running_loop()
        self._heard = True
        self._is_asked = False
        self._before = 0
        self._wait()

    def heard(self) -> None:
        """The client lives."""
        self._heard = True

    def stop(self) -> None:
        """The connection is over."""
        self._timer.cancel()

    def _wait(self) -> None:
        self._due = self._loop.time() + self._interval
        self._timer = self._loop.call_at(self._due, self._look)

    def _look(self) -> None:
        # Time in which this process did not run is not the client's silence: what it said is still to be read.
        was_away = self._loop.time() - self._due > self._interval / 2
        unread = self._unread()
        lives = self._heard or was_away or unread < self._before
        if not lives and self._is_asked:
            self._gone()
            return
        self._heard, self._is_asked = False, False
        if not lives:
            self._is_asked = True
            self._ask()
        self._before = self._unread()
        self._wait()
