# SPDX-License-Identifier: Apache-2.0
"""What the switch asks of a port."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class PortDown(Exception):  # noqa: N818 (reads as the condition it names)
    """The port cannot carry frames now; the message says why."""


@dataclass(slots=True)
class PortStatistics:
    """Frames and bytes since the switch was made. `rx_dropped`: arrived but not processed (no program yet, or
    the receive buffer was full); `tx_dropped`: the program sent them but the port could not."""

    rx_frames: int = 0
    rx_bytes: int = 0
    rx_dropped: int = 0
    tx_frames: int = 0
    tx_bytes: int = 0
    tx_dropped: int = 0


@dataclass(frozen=True, slots=True)
class PortState:
    """How a port fares, for those who watch."""

    interface: str
    is_up: bool
    statistics: PortStatistics


class Port(Protocol):
    """A port. All calls come from one thread."""

    number: int
    name: str

    @property
    def statistics(self) -> PortStatistics:
        """The one object that this port counts in."""

    @property
    def is_open(self) -> bool:
        """Whether `fileno` may be asked."""

    def open(self) -> None:
        """Raises PortDown."""

    def close(self) -> None:
        """Closes the port; a closed port can be opened again."""

    def is_there(self) -> bool:
        """Whether `open` is worth a try."""

    def fileno(self) -> int:
        """What to wait on for `receive`."""

    def receive(self, limit: int) -> list[bytes]:
        """The frames waiting, at most `limit`. Raises PortDown when the port is gone; frames before that are
        lost."""

    def send(self, frame: bytes) -> None:
        """Never raises: a frame that cannot be sent counts as dropped."""
