# SPDX-License-Identifier: Apache-2.0
"""Reads another process's metrics from its unix socket."""

from __future__ import annotations

import http.client
import socket
from pathlib import Path

from hvchannel_telemetry.exposition import PATH

_TIMEOUT_SECONDS = 5.0


class ScrapeError(Exception):
    """No metrics were to be had; one line."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_TIMEOUT_SECONDS)
        self.sock.connect(str(self._path))


def scrape(path: Path) -> str:
    """The text. Raises ScrapeError."""
    connection = _UnixConnection(path)
    try:
        connection.request("GET", PATH)
        response = connection.getresponse()
        text = response.read().decode()
    except OSError as error:
        raise ScrapeError(f"no metrics at {path}: {error.strerror or error}") from error
    except http.client.HTTPException as error:
        raise ScrapeError(f"no metrics at {path}: {type(error).__name__}") from error
    finally:
        connection.close()
    if response.status != http.HTTPStatus.OK:
        raise ScrapeError(f"no metrics at {path}: {response.status} {text.strip()}")
    return text
