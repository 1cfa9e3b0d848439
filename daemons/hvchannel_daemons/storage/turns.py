# SPDX-License-Identifier: Apache-2.0
"""Waiting for something that happens again and again, and of which only that it has happened counts."""

import asyncio
from collections.abc import AsyncIterator


class Turns:
    """For the event loop's thread."""

    def __init__(self) -> None:
        self._next = asyncio.Event()
        self._error: Exception | None = None

    def note(self) -> None:
        """It has happened."""
        done, self._next = self._next, asyncio.Event()
        done.set()

    def fail(self, error: Exception) -> None:
        """It will not happen any more: whoever waits gets the error."""
        self._error = error
        self._next.set()

    async def __call__(self) -> AsyncIterator[None]:
        """Yields now and again whenever it has happened, for ever. What happens during the caller's turn is not missed;
        much may come as one turn. Raises the error of `fail`."""
        while True:
            event = self._next
            yield
            if self._error is None:
                await event.wait()
            if self._error is not None:
                raise self._error
