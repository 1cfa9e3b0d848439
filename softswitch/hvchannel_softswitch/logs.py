# SPDX-License-Identifier: Apache-2.0
"""Logs on stderr or in a file: readable on a terminal, JSON lines elsewhere."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path

import structlog


class LogLevel(StrEnum):
    """simple_switch's levels; ours start at debug, so trace is the same as that."""

    TRACE = "trace"
    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"
    OFF = "off"


_NUMBERS = {
    LogLevel.TRACE: 10,
    LogLevel.DEBUG: 10,
    LogLevel.INFO: 20,
    LogLevel.WARN: 30,
    LogLevel.ERROR: 40,
    LogLevel.OFF: 100,
}


def configure(level: LogLevel, *, json: bool | None = None, file: Path | None = None) -> None:
    """Sets the process's logging up. `json` None: unless it goes to a terminal. Raises OSError for `file`."""
    out = file.open("a", buffering=1, encoding="utf-8") if file is not None else sys.stderr
    as_json = not out.isatty() if json is None else json
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_NUMBERS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=True,
    )
