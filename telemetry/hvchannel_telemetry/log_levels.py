# SPDX-License-Identifier: Apache-2.0
"""A process's log level, changed while it runs: for all of it or for one part, for good or for a while.

A part is a logger's name without the package's: of `hvchannel_daemons.feed.jetstream`, parts are "feed" and
"feed.jetstream". A library's is its own name ("nats").
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from hvchannel_telemetry.logs import LEVELS, name_of, number_of

ALL = ""
"""The part that is the whole process."""

LONGEST_SECONDS = 7 * 24 * 3600

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Setting:
    """A level in force. `seconds` until it ends; 0: it stays."""

    level: str
    seconds: float = 0.0


@dataclass(slots=True)
class _Override:
    number: int
    timer: asyncio.TimerHandle | None = None


class LogLevels:
    """The levels of the running process. Use it on its event loop."""

    def __init__(self, own: Sequence[str]) -> None:
        """`own`: as of `logs.set_up`, the process's main package first."""
        self._own = tuple(own)
        self._before = {name: logging.getLogger(name).level for name in own}
        self._overrides: dict[str, _Override] = {}

    def levels(self) -> dict[str, Setting]:
        """What is in force: that of ALL, and of each part that has one of its own."""
        now = {ALL: Setting(name_of(logging.getLogger(self._own[0]).level))}
        for part, override in self._overrides.items():
            now[part] = Setting(name_of(override.number), _left(override.timer))
        return now

    def parts(self) -> list[str]:
        """The parts that an operator would name; a longer name is valid too, if such a module runs."""
        prefix = self._own[0] + "."
        own = {
            name.removeprefix(prefix).partition(".")[0] for name in self._loggers() if name.startswith(prefix)
        }
        return sorted(own)

    def change(self, level: str, part: str = ALL, seconds: float = 0.0) -> dict[str, Setting]:
        """Puts a level in force, and after `seconds` (0: never) the one from before the first change. An empty level
        ends what was changed. Returns what is in force.

        Raises ValueError for what is not valid, with what would be.
        """
        if not 0 <= seconds <= LONGEST_SECONDS:
            raise ValueError(f"{seconds:g} seconds are not valid (valid: 0, for good, to {LONGEST_SECONDS})")
        self._check(part)
        if level:
            number = number_of(level)
            self._end(part)
            override = self._overrides[part] = _Override(number)
            if seconds:
                override.timer = asyncio.get_running_loop().call_later(seconds, self._revert, part)
            self._apply(part, number)
        elif part in self._overrides:
            self._end(part)
            self._apply(part, None)
        log.warning("log_level", part=part or "all", now=level or "as_started", seconds=seconds or None)
        return self.levels()

    def close(self) -> None:
        """Ends the timers and all that was changed."""
        for part in list(self._overrides):
            self._end(part)
            self._apply(part, None)

    def _revert(self, part: str) -> None:
        self._end(part)
        self._apply(part, None)
        log.warning("log_level", part=part or "all", now="as_started", seconds=None)

    def _end(self, part: str) -> None:
        override = self._overrides.pop(part, None)
        if override is not None and override.timer is not None:
            override.timer.cancel()

    def _apply(self, part: str, number: int | None) -> None:
        """None: as it was when the process started."""
        if part == ALL:
            for name, before in self._before.items():
                logging.getLogger(name).setLevel(before if number is None else number)
        else:
            logging.getLogger(self._logger(part)).setLevel(logging.NOTSET if number is None else number)

    def _check(self, part: str) -> None:
        if part != ALL and self._logger(part) not in self._loggers():
            raise ValueError(
                f"no part {part!r} (valid: {', '.join(self.parts())}, a module below one of them, or a library)"
            )

    def _logger(self, part: str) -> str:
        own = f"{self._own[0]}.{part}"
        return own if own in self._loggers() else part

    def _loggers(self) -> set[str]:
        """Names a logger has or may get: a module's logger is made at its first line."""
        return {*sys.modules, *logging.root.manager.loggerDict}


def _left(timer: asyncio.TimerHandle | None) -> float:
    return 0.0 if timer is None else max(0.0, timer.when() - asyncio.get_running_loop().time())


__all__ = ["ALL", "LEVELS", "LogLevels", "Setting"]
