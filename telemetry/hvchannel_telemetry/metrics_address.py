# SPDX-License-Identifier: Apache-2.0
"""Where a process serves its metrics: a unix socket, or a TCP port that only this machine reaches."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

_UNIX = "unix:"
FORMS = "unix:PATH or HOST:PORT, such as 127.0.0.1:9464"
ALLOW = "--metrics-allow-any"


@dataclass(frozen=True, slots=True)
class MetricsAddress:
    """Either `path`, or `host` (an IP address) and `port`, 0 for any that is free."""

    path: Path | None = None
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        if self.path is not None:
            return f"{_UNIX}{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse(text: str, *, allow_any: bool = False) -> MetricsAddress:
    """Raises ValueError, in one line, for what is no address, and for one that others reach, unless `allow_any`."""
    if text.startswith(_UNIX):
        path = text.removeprefix(_UNIX)
        if not path or path.endswith("/") or os.path.isdir(path):  # noqa: PTH112 - "." is a path to Path
            raise ValueError(f"--metrics: {text!r} names no socket (valid: {FORMS})")
        return MetricsAddress(path=Path(path))
    host, colon, port = text.rpartition(":")
    name = host.removeprefix("[").removesuffix("]")
    try:
        address = ipaddress.ip_address("127.0.0.1" if name == "localhost" else name)
    except ValueError:
        raise ValueError(f"--metrics: {text!r} is no address (valid: {FORMS})") from None
    if not (colon and port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ValueError(f"--metrics: {text!r} has no port from 0 to 65535 (valid: {FORMS})")
    if not (address.is_loopback or allow_any):
        raise ValueError(
            f"--metrics: others than this machine reach {address}, and metrics are served to whoever asks "
            f"(valid: a loopback address or unix:PATH; {ALLOW} overrides)"
        )
    return MetricsAddress(host=str(address), port=int(port))
