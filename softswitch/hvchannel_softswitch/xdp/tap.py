# SPDX-License-Identifier: Apache-2.0
"""pcap files of what passes the ports, out of what a program compiled for tracing tells: packet sockets do not see
it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hvchannel_softswitch.ports import PcapWriter


class Tap:
    """`<interface>_in.pcap` and `<interface>_out.pcap` in a folder, as bmv2 names them."""

    def __init__(self, folder: Path, interfaces: Mapping[int, str]) -> None:
        """Interfaces' names by port. Raises OSError."""
        self._in = {port: PcapWriter(folder / f"{name}_in.pcap") for port, name in interfaces.items()}
        self._out = {port: PcapWriter(folder / f"{name}_out.pcap") for port, name in interfaces.items()}

    def arrived(self, port: int, frame: bytes) -> None:
        """A frame came in by a port."""
        if port in self._in:
            self._in[port].write(frame)

    def sent(self, port: int, frame: bytes) -> None:
        """A frame went out by a port."""
        if port in self._out:
            self._out[port].write(frame)

    def close(self) -> None:
        """Closes the files."""
        for writer in (*self._in.values(), *self._out.values()):
            writer.close()
