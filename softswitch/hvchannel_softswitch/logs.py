# SPDX-License-Identifier: Apache-2.0
"""Logs on stderr or in a file: readable on a terminal, JSON lines elsewhere."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from hvchannel_telemetry import logs


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
    LogLevel.OFF: logs.OFF,
}

OWN = ("hvchannel_softswitch", "hvchannel_telemetry")
"""Whose lines the log level is for."""


def configure(level: LogLevel, *, json: bool | None = None, file: Path | None = None) -> None:
    """Sets the process's logging up. `json` None: unless it goes to a terminal. Raises OSError for `file`."""
    logs.set_up(_NUMBERS[level], json, OWN, file=file)
