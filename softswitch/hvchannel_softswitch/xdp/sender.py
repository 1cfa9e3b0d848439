# SPDX-License-Identifier: Apache-2.0
"""Sends the few frames that do not come from a port: those of PacketOut."""

from __future__ import annotations

import socket
from collections.abc import Mapping


class Sender:
    """A packet socket per port that was sent to, for sending only."""

    def __init__(self, interfaces: Mapping[int, str]) -> None:
        """Interfaces' names by port."""
        self._interfaces = interfaces
        self._sockets: dict[int, socket.socket] = {}

    def send(self, port: int, frame: bytes) -> bool:
        """False for a port that is not there, or whose interface does not take the frame."""
        name = self._interfaces.get(port)
        if name is None:
            return False
        try:
            if port not in self._sockets:
                self._sockets[port] = _open(name)
            self._sockets[port].send(frame)
        except OSError:
            # The interface may have gone and come back as another: the next frame finds out.
            if (stale := self._sockets.pop(port, None)) is not None:
                stale.close()
            return False
        return True

    def close(self) -> None:
        """Closes the sockets."""
        for opened in self._sockets.values():
            opened.close()
        self._sockets.clear()


def _open(name: str) -> socket.socket:
    # Protocol 0: it receives nothing.
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    try:
        opened.bind((name, 0))
    except OSError:
        opened.close()
        raise
    return opened
