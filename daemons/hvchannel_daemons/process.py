# SPDX-License-Identifier: Apache-2.0
"""Running a daemon's coroutine until a signal says stop."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop


def run_until_signal(main: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    """Runs `main(stop)`; SIGINT and SIGTERM set `stop`, a second one interrupts.
    Raises what `main` raises."""

    async def wrapped() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def on_signal() -> None:
            if stop.is_set():
                for signum in (signal.SIGINT, signal.SIGTERM):
                    loop.remove_signal_handler(signum)
                raise KeyboardInterrupt
            stop.set()

        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signum, on_signal)
        await main(stop)

    uvloop.run(wrapped())
