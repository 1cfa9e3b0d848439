# SPDX-License-Identifier: Apache-2.0
"""What a feed does that nobody waits for, and the failure that ends its serving, whichever part of it found that."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from hvchannel_daemons.feed.interface import FeedError


class Background:
    """Of one feed; its parts share it. To be made where an event loop runs."""

    def __init__(self) -> None:
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs it; `work` says by `fail` what must end the feed."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def fail(self, error: FeedError) -> None:
        """The first one counts."""
        if not self._failure.done():
            self._failure.set_exception(error)

    def check(self) -> None:
        """Raises FeedError when something has failed."""
        if self._failure.done():
            self._failure.result()

    async def failed(self) -> None:
        """Never returns. Raises FeedError as soon as something has failed."""
        await asyncio.shield(self._failure)

    async def close(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._failure.done():
            self._failure.exception()  # whoever did not ask is not to be told by asyncio
