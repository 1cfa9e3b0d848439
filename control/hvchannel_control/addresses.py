# SPDX-License-Identifier: Apache-2.0
"""MAC addresses as people write them and as a table holds them."""

import fcntl
import re
import socket
import struct

_MAC = re.compile(r"[0-9a-f]{2}(?:[:-][0-9a-f]{2}){5}", re.IGNORECASE)
_SIOCGIFHWADDR = 0x8927  # netdevice(7)
_IFNAMSIZ = 16


def mac_to_int(mac: str) -> int:
    """The 48-bit number of a MAC address in any of the forms `normalise_mac` takes."""
    return int(normalise_mac(mac).replace(":", ""), 16)


def format_mac(value: int) -> str:
    """A 48-bit number as "02:00:00:00:00:01"."""
    return value.to_bytes(6, "big").hex(":")


def normalise_mac(mac: str) -> str:
    """A MAC address in lower case with colons.

    Raises ValueError unless it is six octets in hexadecimal, not all zero, and unicast (IEEE 802: the first
    octet's lowest bit is the group bit).
    """
    if not _MAC.fullmatch(mac):
        raise ValueError(f"{mac!r} is not a MAC address (like 02:00:00:00:00:01)")
    text = mac.lower().replace("-", ":")
    if int(text[:2], 16) & 1:
        raise ValueError(f"{text} is a multicast MAC address, and a VNIC's is unicast")
    if text == "00:00:00:00:00:00":
        raise ValueError(f"{text} is no interface's MAC address")
    return text


def mac_of_interface(name: str) -> str:
    """The MAC address of a network interface of this process's network namespace.

    Asked by ioctl: /sys shows the namespace it was mounted in, which is not always the process's own.
    Raises ValueError when there is no such interface, or its address is no unicast MAC.
    """
    encoded = name.encode()
    if not 0 < len(encoded) < _IFNAMSIZ:
        raise ValueError(f"{name!r} is not an interface name (1 to 15 bytes)")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            answer = fcntl.ioctl(probe, _SIOCGIFHWADDR, struct.pack("40s", encoded))
        except OSError as error:
            raise ValueError(f"interface {name!r}: {error.strerror}") from error
    return normalise_mac(answer[18:24].hex(":"))
