# SPDX-License-Identifier: Apache-2.0
"""Logs of hostd and guestd."""

from collections.abc import Callable, Mapping
from typing import Final

from hvchannel_telemetry import logs
from hvchannel_telemetry.logs import LEVELS

OWN: Final = ("hvchannel_daemons", "hvchannel_telemetry")
"""Whose lines the log level is for."""


def set_up(level: str, as_json: bool | None, always: Callable[[], Mapping[str, str]] = dict) -> None:
    """See hvchannel_telemetry.logs. Raises ValueError when `level` is none of LEVELS."""
    logs.set_up(level, as_json, OWN, always=always)


__all__ = ["LEVELS", "OWN", "set_up"]
