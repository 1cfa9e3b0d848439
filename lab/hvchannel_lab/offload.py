# SPDX-License-Identifier: Apache-2.0
"""Switching off what a network driver does for the stack: our switches must see whole frames with right
checksums.

A veth leaves checksums to "hardware" that does not exist and passes frames of up to 64 KiB. A P4 switch
behind packet sockets would forward those with wrong checksums, or not at all. ethtool's ioctl
(linux/ethtool.h), since it works on every kernel and needs no netlink family.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import socket
from enum import IntEnum

_SIOCETHTOOL = 0x8946
_IFNAMSIZ = 16


class Feature(IntEnum):
    """What can be switched: the number of its ETHTOOL_G... command; the S... command is one more."""

    RX_CHECKSUM = 0x14
    TX_CHECKSUM = 0x16
    TCP_SEGMENTATION = 0x1E
    SEGMENTATION = 0x23
    RECEIVE_COALESCING = 0x2B


SWITCH_OFF = (
    Feature.TX_CHECKSUM,
    Feature.TCP_SEGMENTATION,
    Feature.SEGMENTATION,
    Feature.RECEIVE_COALESCING,
)


class _Value(ctypes.Structure):
    _fields_ = (("cmd", ctypes.c_uint32), ("data", ctypes.c_uint32))


class _Request(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char * _IFNAMSIZ), ("data", ctypes.c_void_p), ("_rest", ctypes.c_char * 16))


def _call(sock: socket.socket, interface: str, command: int, data: int = 0) -> int:
    value = _Value(command, data)
    request = _Request(interface.encode(), ctypes.cast(ctypes.pointer(value), ctypes.c_void_p))
    try:
        fcntl.ioctl(sock, _SIOCETHTOOL, request)
    except OSError as error:
        raise OSError(error.errno, f"ethtool command {command:#x} on {interface}: {error.strerror}") from None
    return int(value.data)


def switch_off(interface: str) -> None:
    """Everything of `SWITCH_OFF`, on an interface of the caller's namespace. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for feature in SWITCH_OFF:
            try:
                _call(sock, interface, feature + 1, 0)
            except OSError as error:
                # A veth has no segmentation to switch off from when XDP runs at its other end, which may be any moment.
                if error.errno != errno.EOPNOTSUPP or _call(sock, interface, feature):
                    raise


def switch_on(interface: str, feature: Feature) -> None:
    """One feature, on an interface of the caller's namespace. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        _call(sock, interface, feature + 1, 1)


def is_on(interface: str, feature: Feature) -> bool:
    """Whether a feature is on, on an interface of the caller's namespace. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        return bool(_call(sock, interface, feature))
