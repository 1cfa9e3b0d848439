# SPDX-License-Identifier: Apache-2.0
"""Logs of a process: to stderr or a file, readable on a terminal, one JSON object per line elsewhere.

Every logger is one of the standard library's, so a level can be set by its name while the process runs (`log_levels`),
and what libraries log comes out the same way. Of libraries only warnings are shown, whatever the level: a library at
debug level may well print what it was given, credentials too.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import structlog

LEVELS = ("debug", "info", "warning", "error")
OFF = 100
"""A level above all there are."""


class _Stderr(logging.StreamHandler[Any]):
    """Asks for stderr at each line: a live view puts itself in its place while it is up."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> IO[str]:
        return sys.stderr


def number_of(level: str) -> int:
    """The standard library's number of one of LEVELS. Raises ValueError, which names the valid ones."""
    if level not in LEVELS:
        raise ValueError(f"log level {level!r} is not known (valid: {', '.join(LEVELS)})")
    return logging.getLevelNamesMapping()[level.upper()]


def name_of(number: int) -> str:
    """The name of a level's number; "off" when it is above them all."""
    return next((level for level in LEVELS if number <= number_of(level)), "off")


def set_up(
    level: str | int,
    as_json: bool | None,
    own: Sequence[str],
    *,
    file: Path | None = None,
    always: Callable[[], Mapping[str, str]] = dict,
    pad: int = 30,
) -> None:
    """Sets the process's logging up, or up anew.

    `level`: one of LEVELS or a number, for loggers whose name begins with one of `own`. `as_json` None: unless the log
    goes to a terminal. `always`: fields of each line that has not got them itself. `pad`: the width of an event's name
    on a terminal. Raises ValueError for a level that is not known, OSError for `file`.
    """
    # gRPC's core writes lines of its own to stderr, of every connection that fails: who dials says that better
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    number = number_of(level) if isinstance(level, str) else level
    handler: logging.StreamHandler[Any] = (
        _Stderr() if file is None else logging.StreamHandler(file.open("a", buffering=1, encoding="utf-8"))
    )
    if as_json is None:
        as_json = not handler.stream.isatty()
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(pad_event_to=pad, colors=handler.stream.isatty())
    )
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        _adding(always),
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
            foreign_pre_chain=shared,
        )
    )
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler], force=True)
    for name in own:
        logging.getLogger(name).setLevel(number)


def _adding(always: Callable[[], Mapping[str, str]]) -> structlog.typing.Processor:
    def add(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        for name, value in always().items():
            event.setdefault(name, value)
        return event

    return add
