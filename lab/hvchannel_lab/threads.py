# SPDX-License-Identifier: Apache-2.0
"""Work in a thread that nothing waits for at the end of the program: Ctrl-C is not held up by it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def in_thread(work: Callable[[], T]) -> Future[T]:
    """Starts the work in a thread of its own. Its outcome, exceptions included, is the future's."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future
