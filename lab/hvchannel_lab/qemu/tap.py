# SPDX-License-Identifier: Apache-2.0
"""The hypervisor's end of a QEMU VM's VNIC: a tap that is there before QEMU opens it."""

from __future__ import annotations

import fcntl
import os
import struct

from hvchannel_lab import network
from hvchannel_lab.namespaces import inside

# linux/if_tun.h
TUNSETIFF, _TUNSETPERSIST = 0x400454CA, 0x400454CB
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
FLAGS = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR


def add(name: str, namespace: str, mtu: int) -> None:
    """Up, and a port of the host vSwitch alone, as a veth would be. Raises OSError."""
    with inside(namespace):
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), FLAGS))
            fcntl.ioctl(descriptor, _TUNSETPERSIST, 1)
        finally:
            os.close(descriptor)
    network.set_up_tap(name, namespace, mtu)
