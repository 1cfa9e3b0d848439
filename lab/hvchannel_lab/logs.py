# SPDX-License-Identifier: Apache-2.0
"""The lab's own log."""

from hvchannel_telemetry import logs

_OWN = ("lab", "hvchannel_lab", "hvchannel_daemons", "hvchannel_control")


def set_up(level: str = "info", as_json: bool | None = None) -> None:
    """See hvchannel_telemetry.logs."""
    logs.set_up(level, as_json, _OWN, pad=0)
