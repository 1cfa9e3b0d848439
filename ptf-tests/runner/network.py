# SPDX-License-Identifier: Apache-2.0
"""The cables of a bench, in the network namespace that this process is in."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import socket
import struct
import subprocess
from pathlib import Path

from runner.benches import Cable

_SIOCETHTOOL = 0x8946
_ETHTOOL_STXCSUM = 0x17


def lay(cables: tuple[Cable, ...]) -> None:
    """Raises CalledProcessError, OSError."""
    _ip("link", "set", "lo", "up")
    for family in ("default", "all"):  # no neighbour discovery among the tests' frames
        with contextlib.suppress(OSError):
            Path(f"/proc/sys/net/ipv6/conf/{family}/disable_ipv6").write_text("1")
    for cable in cables:
        first, second = cable.ends
        mtu = str(cable.mtu)
        _ip("link", "add", first, "mtu", mtu, "type", "veth", "peer", "name", second, "mtu", mtu)
        for end in cable.ends:
            _ip("link", "set", end, "addrgenmode", "none", "up")
            _checksum_offload_off(end)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def _checksum_offload_off(interface: str) -> None:
    """ethtool -K INTERFACE tx off: a switch must see whole frames with their checksums."""
    value = ctypes.create_string_buffer(struct.pack("=II", _ETHTOOL_STXCSUM, 0))
    request = struct.pack("16sP", interface.encode(), ctypes.addressof(value))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCETHTOOL, request)
