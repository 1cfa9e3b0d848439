# SPDX-License-Identifier: Apache-2.0
"""What the kernel remembers of who had an address.

A LIP that is leased anew leads to another VIF, with another MAC. For up to a minute the kernel would go on sending to
the one that had it before, and the vSwitch would drop that.
"""

import fcntl
import ipaddress
import socket
import struct
from contextlib import suppress

_SIOCDARP = 0x8953  # arp(7)


def forget(address: str) -> None:
    """Has the kernel ask anew who has an IPv4 address, wherever its route leads. Does nothing where there is nothing to
    forget, and where this process may not (CAP_NET_ADMIN): then the kernel finds out in its own time."""
    ip = ipaddress.ip_address(address)
    if ip.version != 4:
        return
    request = struct.pack("=HH4s8x16x4x16x16x", socket.AF_INET, 0, ip.packed)  # struct arpreq
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, suppress(OSError):
        fcntl.ioctl(sock, _SIOCDARP, request)
