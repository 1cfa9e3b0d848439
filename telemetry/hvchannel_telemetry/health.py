# SPDX-License-Identifier: Apache-2.0
"""Which parts of a process serve, and why one does not. A process serves when all of its parts do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping

OVERALL = ""
"""The name that the gRPC health protocol gives the process as a whole."""

Check = Callable[[], str]
"""Why the part does not serve, in one line; empty when it does."""

_LOOK_SECONDS = 0.5


class UnknownPartError(Exception):
    """No such part; the text names the valid ones."""


class Health:
    """The parts by name, each with what tells how it is: nobody has to report a change, it is looked at."""

    def __init__(self, parts: Mapping[str, Check] | None = None) -> None:
        self._parts = dict(parts or {})
        self._closed = asyncio.Event()

    def add(self, part: str, check: Check) -> None:
        """One more part."""
        self._parts[part] = check

    def why_not(self, part: str = OVERALL) -> str:
        """Why the part, or the process, does not serve; empty when it does. Raises UnknownPartError."""
        if self._closed.is_set():
            return "it is shutting down"
        if part == OVERALL:
            return "; ".join(f"{name}: {why}" for name, why in self.parts().items() if why)
        try:
            return self._parts[part]()
        except KeyError:
            valid = ", ".join(["(empty: all)", *self._parts])
            raise UnknownPartError(f"no part {part!r} (valid: {valid})") from None

    def parts(self) -> dict[str, str]:
        """Why each part does not serve, by its name."""
        closed = self._closed.is_set()
        return {name: "it is shutting down" if closed else check() for name, check in self._parts.items()}

    async def changes(self, part: str) -> AsyncGenerator[bool | None, None]:
        """Whether the part serves, now and at every change, until `close`. None: there is no such part (yet)."""
        told: list[bool | None] = []
        while True:
            closed = self._closed.is_set()  # before the look: what is yielded below may wait for long
            try:
                now: bool | None = not self.why_not(part)
            except UnknownPartError:
                now = None
            if told != [now]:
                told = [now]
                yield now
            if closed:
                return
            try:
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._closed.wait()
            except TimeoutError:
                continue

    def close(self) -> None:
        """Nothing serves any longer, and those who watch are told."""
        self._closed.set()
