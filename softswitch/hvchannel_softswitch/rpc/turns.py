# SPDX-License-Identifier: Apache-2.0
"""A server shares its loop with everything else on it: clients that send as fast as they can must not keep the loop
from its other sockets, which carry packets.

So a server works in turns, those of all its connections together. When a turn is over, what is left waits for the next
one, before which the loop looks at all of its sockets; or until as much time has gone by, which others have had then.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

TURN_SECONDS = 0.001
"""About as long as a port's turn (`switch.BATCH` frames). A call that takes longer is still run whole."""

Work: TypeAlias = Callable[[], bool]
"""Works until it has nothing left, or the turn is over: true when there is more to do."""


class Turns:
    """When the connections of a server may work."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float]) -> None:
        """`clock` gives seconds."""
        self._loop = loop
        self._clock = clock
        self._waiting: deque[Work] = deque()
        self._end = 0.0

    @property
    def is_over(self) -> bool:
        """Whether whoever works now must stop soon."""
        return self._clock() >= self._end

    def run(self, work: Work) -> bool:
        """Runs it now, or in the next turn. Whether it is done; if not, it will be run until it is."""
        if not self._waiting:
            now = self._clock()
            if now >= self._end + TURN_SECONDS:
                self._end = now + TURN_SECONDS
            if now < self._end and not work():
                return True
            self._loop.call_soon(self._take)
        self._waiting.append(work)
        return False

    def _take(self) -> None:
        self._end = self._clock() + TURN_SECONDS
        try:
            while self._waiting:
                work = self._waiting.popleft()
                if work():
                    self._waiting.append(work)
                if self.is_over:
                    break
        finally:
            # Whatever has happened: those who wait would otherwise wait for ever.
            if self._waiting:
                self._loop.call_soon(self._take)
