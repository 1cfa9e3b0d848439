# SPDX-License-Identifier: Apache-2.0
"""Pauses between attempts.

Attempts that fail are repeated after pauses that double up to `longest`. A session that was stable is dialled again at
once. One that keeps opening and closing is damped as a flapping route is (RFC 2439): each flap adds to a penalty that
halves with time, and beyond a threshold the pause grows with it. All pauses are jittered, and spread the more the more
VIFs there are, so that many do not come at once after the controller, the feed or the hypervisor was away.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

FIRST_SECONDS: Final = 0.1
LONGEST_SECONDS: Final = 1.0
STABLE_SECONDS: Final = 10.0  # a session that lasted this long was no flap

HALF_LIFE_SECONDS: Final = 15.0  # of the penalty
SUPPRESS_AT: Final = 2.5  # three flaps within some seconds
PENALTY_MOST: Final = 8.0
LONGEST_DAMPED_SECONDS: Final = 30.0

_QUIET_VIFS: Final = 100  # so many cost nothing worth saving
_PER_SECOND: Final = 200  # VIFs that are dialled in a second when all are at once


def pace(vifs: int) -> float:
    """Seconds between two signs of life, or two attempts, of one VIF where there are so many: one second up to a
    hundred VIFs, then longer so that all together stay at a hundred per second; a minute at most."""
    return min(max(LONGEST_SECONDS, vifs / _QUIET_VIFS), 60.0)


def spread(vifs: int) -> float:
    """Seconds over which so many VIFs are dialled when all are to be at once."""
    return vifs / _PER_SECOND


class Backoff:
    """Of whatever cannot be reached for now: `reset` when it could."""

    def __init__(self) -> None:
        self._next = FIRST_SECONDS

    def reset(self) -> None:
        """The last attempt went well."""
        self._next = FIRST_SECONDS

    def pause(self, longest: float = LONGEST_SECONDS) -> float:
        """Seconds to wait before the next attempt: half to all of a step that doubles up to `longest`."""
        step, self._next = min(self._next, longest), min(2 * self._next, longest)
        return random.uniform(step / 2, step)


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float
    damped: bool  # because the sessions flap


class Damper:
    """Of one VIF: tell it how each attempt ended, wait as long as it says. `vifs` gives how many VIFs share the
    hypervisor; `clock` counts seconds."""

    def __init__(
        self, vifs: Callable[[], int] = lambda: 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._vifs = vifs
        self._clock = clock
        self._backoff = Backoff()
        self._penalty = 0.0
        self._at = clock()

    @property
    def penalty(self) -> float:
        """Flaps, each weighing half after HALF_LIFE_SECONDS; 0 to PENALTY_MOST."""
        age = max(0.0, self._clock() - self._at)
        return float(self._penalty * 0.5 ** (age / HALF_LIFE_SECONDS))

    def first(self) -> Pause:
        """Before the first attempt."""
        return Pause(random.uniform(0, spread(self._vifs())), damped=False)

    def failed(self) -> Pause:
        """The attempt did not become a session."""
        return Pause(self._backoff.pause(pace(self._vifs())), damped=False)

    def ended(self, lasted: float) -> Pause:
        """There was a session, and it lasted so many seconds."""
        self._backoff.reset()
        flapped = lasted < STABLE_SECONDS
        self._penalty, self._at = min(self.penalty + flapped, PENALTY_MOST), self._clock()
        over = self._penalty - SUPPRESS_AT
        if not flapped or over < 0:
            pause = self._backoff.pause(pace(self._vifs())) + random.uniform(0, spread(self._vifs()))
            return Pause(pause, damped=False)
        step = min(2.0**over, LONGEST_DAMPED_SECONDS)
        return Pause(random.uniform(step / 2, step), damped=True)
