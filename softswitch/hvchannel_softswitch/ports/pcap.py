# SPDX-License-Identifier: Apache-2.0
"""A pcap file, as tcpdump and Wireshark read it (Ethernet, nanosecond time stamps of the wall clock)."""

from __future__ import annotations

import struct
import time
from pathlib import Path

_MAGIC_NANOSECONDS = 0xA1B23C4D
_LINKTYPE_ETHERNET = 1
_SNAPLEN = 65535


class PcapWriter:
    """Writes frames to a new file; each is on disk when `write` returns, so that a reader can follow
    along."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self._file = path.open("wb", buffering=0)
        self._file.write(
            struct.pack("<IHHiIII", _MAGIC_NANOSECONDS, 2, 4, 0, 0, _SNAPLEN, _LINKTYPE_ETHERNET)
        )

    def write(self, frame: bytes) -> None:
        """Appends one frame, stamped now."""
        seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
        self._file.write(struct.pack("<IIII", seconds, nanoseconds, len(frame), len(frame)) + frame)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
