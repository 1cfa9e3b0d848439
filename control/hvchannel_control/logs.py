# SPDX-License-Identifier: Apache-2.0
"""Logs of the controller."""

from hvchannel_telemetry import logs

OWN = ("hvchannel_control", "hvchannel_telemetry")
"""Whose lines the log level is for: finsy tells at INFO of what the controller tells better."""


def configure(level: str, json: bool | None) -> None:
    """See hvchannel_telemetry.logs. Raises ValueError when `level` is none of its levels."""
    logs.set_up(level, json, OWN)
