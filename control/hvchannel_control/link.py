# SPDX-License-Identifier: Apache-2.0
"""Whether a port's interface is there and has a carrier: P4Runtime does not tell, so the kernel is asked."""

import enum
import errno
import fcntl
import socket
import struct

_SIOCGIFFLAGS = 0x8913  # netdevice(7)
_IFF_UP, _IFF_RUNNING = 0x1, 0x40


class LinkState(enum.Enum):
    UP = "up"
    DOWN = "down"
    NO_CARRIER = "no carrier"
    ABSENT = "absent"


def link_state(interface: str) -> LinkState:
    """Of an interface of this process's network namespace; by ioctl, since /sys may show another namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            answer = fcntl.ioctl(probe, _SIOCGIFFLAGS, struct.pack("40s", interface.encode()))
        except OSError as error:
            if error.errno == errno.ENODEV:
                return LinkState.ABSENT
            raise
    (flags,) = struct.unpack_from("H", answer, 16)
    if not flags & _IFF_UP:
        return LinkState.DOWN
    return LinkState.UP if flags & _IFF_RUNNING else LinkState.NO_CARRIER
