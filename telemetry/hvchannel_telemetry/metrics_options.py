# SPDX-License-Identifier: Apache-2.0
"""The options of a command that serves metrics."""

from __future__ import annotations

from typing import Annotated

import typer

from hvchannel_telemetry.metrics_address import ALLOW, MetricsAddress, parse

MetricsAt = Annotated[
    str | None,
    typer.Option(
        "--metrics",
        metavar="ADDRESS",
        help="Serve Prometheus metrics at /metrics here: unix:PATH (made with mode 0600) or HOST:PORT on loopback.",
        show_default="none",
    ),
]
AllowAny = Annotated[
    bool,
    typer.Option(ALLOW, help="Let --metrics be an address that other machines reach; they need no password."),
]
PerVif = Annotated[
    bool, typer.Option("--metrics-per-vif", help="Metrics of each VIF too: several series per VIF.")
]


def metrics_address(at: str | None, allow_any: bool) -> MetricsAddress | None:
    """What the options say. Raises ValueError, in one line."""
    return None if at is None else parse(at, allow_any=allow_any)
