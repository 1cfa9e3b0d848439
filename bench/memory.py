# SPDX-License-Identifier: Apache-2.0
"""The resident memory of a switch's process. The maps of the engine in the kernel are the kernel's memory, not its
process's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.figures import Figure
from bench.routes.route import Route


def resident_memory(routes: Sequence[Route], peer: str) -> list[Figure]:
    """Of the host vSwitch's process of each route that has one, tables filled, after its traffic; beside that of the
    route whose key is `peer`. Raises OSError."""
    megabytes = {route.key: _resident(route.switches[0]) / 1e6 for route in routes if route.switches}
    compared = megabytes.get(peer)
    name = next((route.name for route in routes if route.key == peer), None)
    return [
        Figure(f"resident memory of a switch: {route.name}", megabytes[route.key], "MB")
        if compared is None or route.key == peer
        else Figure(
            *(f"resident memory of a switch: {route.name}", megabytes[route.key], "MB"),
            *(name, megabytes[route.key] / compared),
        )
        for route in routes
        if route.switches
    ]


def _resident(pid: int) -> int:
    """Bytes (proc(5): VmRSS, in KiB)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))
