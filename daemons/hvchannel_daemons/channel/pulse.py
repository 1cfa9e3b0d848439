# SPDX-License-Identifier: Apache-2.0
"""Noticing a dead peer: every message of it counts as a sign of life,
heartbeats guarantee that there are some."""

import asyncio
from typing import Final

SILENT_AFTER: Final = 3  # heartbeat intervals


class PeerSilent(Exception):  # noqa: N818 - an event, named as the protocol's reason
    """Nothing was heard from the peer for too long; the message says how long."""


class Pulse:
    def __init__(self, interval_seconds: float) -> None:
        self.interval = interval_seconds
        self._clock = asyncio.get_running_loop().time
        self._heard = self._clock()
        self._sent = self._heard

    def heard(self) -> None:
        self._heard = self._clock()

    def sent(self) -> None:
        self._sent = self._clock()

    async def due(self) -> None:
        """Returns when nothing has been sent for an interval: time for a heartbeat."""
        while (rest := self._sent + self.interval - self._clock()) > 0:  # noqa: ASYNC110 - time is what is awaited
            await asyncio.sleep(rest)

    async def silence(self) -> None:
        """Raises PeerSilent after SILENT_AFTER intervals without a message. Time in which this process
        itself did not run (stopped, or out of CPU) is not the peer's silence."""
        step = self.interval / 2
        allowed = SILENT_AFTER * self.interval
        before = self._clock()
        while True:
            await asyncio.sleep(step)
            now = self._clock()
            late = now - before - step
            if late > step:
                self._heard = min(now, self._heard + late)
            before = now
            if now - self._heard > allowed:
                raise PeerSilent(f"nothing heard for {now - self._heard:.1f} s")
