# SPDX-License-Identifier: Apache-2.0
"""Pauses between attempts: they grow quickly to about a second and are jittered, so that many VIFs do not
beat at once."""

import random
from typing import Final

FIRST_SECONDS: Final = 0.1
LONGEST_SECONDS: Final = 1.0


class Backoff:
    def __init__(self) -> None:
        self._next = FIRST_SECONDS

    def reset(self) -> None:
        """The last attempt went well."""
        self._next = FIRST_SECONDS

    def pause(self) -> float:
        """Seconds to wait before the next attempt:
        half to all of a step that doubles up to LONGEST_SECONDS."""
        step, self._next = self._next, min(2 * self._next, LONGEST_SECONDS)
        return random.uniform(step / 2, step)
