# SPDX-License-Identifier: Apache-2.0
"""What `ip` says of a namespace's interfaces."""

import json
import subprocess
from typing import Any

from hvchannel_lab.handle import Handle


def ip(namespace: str, *arguments: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        ["ip", "-n", namespace, "-json", *arguments], check=True, capture_output=True, text=True
    )
    found: list[dict[str, Any]] = json.loads(done.stdout or "[]")
    return found


def links(namespace: str) -> dict[str, dict[str, Any]]:
    return {entry["ifname"]: entry for entry in ip(namespace, "link")}


def until_it_carries(namespace: str, interface: str) -> None:
    """The kernel takes up to a second to notice that the other end is up, and drops what is sent until then."""
    Handle.until(lambda: links(namespace)[interface]["operstate"] == "UP" or None, f"{interface} carries", 10)
