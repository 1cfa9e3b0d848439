# SPDX-License-Identifier: Apache-2.0
"""Logs of hostd and guestd: to stderr, for people on a terminal, else one JSON object per line."""

import logging
import sys

import structlog

LEVELS = ("debug", "info", "warning", "error")


def set_up(level: str, as_json: bool | None) -> None:
    """Configures structlog for the process. `as_json` None: JSON unless stderr is a terminal.

    Raises ValueError when `level` is none of LEVELS.
    """
    if level not in LEVELS:
        raise ValueError(f"log level {level!r} is not known (valid: {', '.join(LEVELS)})")
    if as_json is None:
        as_json = not sys.stderr.isatty()
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
