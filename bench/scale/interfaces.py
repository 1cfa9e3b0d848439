# SPDX-License-Identifier: Apache-2.0
"""Addresses, routes and flags by ioctl (netdevice(7)), for interfaces of the caller's namespace: to configure a
thousand namespaces by netlink, a socket for each, takes minutes. Every function raises OSError."""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct
from ipaddress import IPv4Address

_SIOCADDRT = 0x890B
_SIOCSARP = 0x8955
_ARPHRD_ETHER, _ATF_COMPLETE, _ATF_PERMANENT = 1, 0x2, 0x4
_SIOCSIFFLAGS = 0x8914
_SIOCSIFADDR = 0x8916
_SIOCSIFNETMASK = 0x891C
_IFF_UP_RUNNING = 0x1 | 0x40
_RTF_UP = 0x1
_HOST = IPv4Address("255.255.255.255")


class _Sockaddr(ctypes.Structure):
    _fields_ = (("family", ctypes.c_uint16), ("port", ctypes.c_uint16), ("address", ctypes.c_char * 12))


class _Route(ctypes.Structure):
    """struct rtentry, <linux/route.h>."""

    _fields_ = (
        ("_1", ctypes.c_ulong),
        ("destination", _Sockaddr),
        ("gateway", _Sockaddr),
        ("mask", _Sockaddr),
        ("flags", ctypes.c_ushort),
        ("_2", ctypes.c_short),
        ("_3", ctypes.c_ulong),
        ("_4", ctypes.c_void_p),
        ("metric", ctypes.c_short),
        ("device", ctypes.c_char_p),
        ("_5", ctypes.c_ulong * 3),
    )


def up(sock: socket.socket, interface: str) -> None:
    fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sH22x", interface.encode(), _IFF_UP_RUNNING))


def add_host_address(sock: socket.socket, interface: str, address: IPv4Address) -> None:
    """The first address of an interface, as a /32."""
    for request, value in ((_SIOCSIFADDR, address), (_SIOCSIFNETMASK, _HOST)):
        fcntl.ioctl(sock, request, struct.pack("16s16s8x", interface.encode(), bytes(_sockaddr(value))))


def add_on_link_route(
    sock: socket.socket, interface: str, destination: IPv4Address, mask: IPv4Address = _HOST
) -> None:
    """A route without a router, to one address or to as many as the mask says."""
    route = _Route(
        destination=_sockaddr(destination), gateway=_sockaddr(IPv4Address(0)), mask=_sockaddr(mask)
    )
    route.flags, route.device = _RTF_UP, interface.encode()
    fcntl.ioctl(sock, _SIOCADDRT, bytes(route))


def add_neighbour(sock: socket.socket, interface: str, address: IPv4Address, mac: str) -> None:
    """For ever: it is not one of the entries that the kernel counts, for all namespaces together (gc_thresh3)."""
    hardware = struct.pack("=H6s8x", _ARPHRD_ETHER, bytes.fromhex(mac.replace(":", "")))
    flags = struct.pack("=i16x", _ATF_COMPLETE | _ATF_PERMANENT)
    request = bytes(_sockaddr(address)) + hardware + flags + struct.pack("16s", interface.encode())
    fcntl.ioctl(sock, _SIOCSARP, request)


def _sockaddr(address: IPv4Address) -> _Sockaddr:
    return _Sockaddr(socket.AF_INET, 0, address.packed)
