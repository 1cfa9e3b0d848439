# SPDX-License-Identifier: Apache-2.0
"""A tap that libvirt made, as a port of the vSwitch: the hypervisor's own stack answers nobody there."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

_SYSCTL = Path("/proc/sys/net")
_SETTINGS = {
    "ipv6/conf/{}/disable_ipv6": "1",
    "ipv4/conf/{}/arp_ignore": "8",  # ARP for no address
    "ipv4/conf/{}/rp_filter": "1",  # no IPv4 whatever its source, as no route leads there
}


def is_there(interface: str) -> bool:
    """In this process's network namespace."""
    return (_SYSCTL / "ipv4/conf" / interface).is_dir()


def set_apart(interface: str) -> None:
    """Raises OSError; of an interface that is not there FileNotFoundError."""
    if not is_there(interface):
        raise FileNotFoundError(f"no interface {interface}")
    for name, value in _SETTINGS.items():
        with suppress(FileNotFoundError):  # a kernel without IPv6 has nothing to switch off
            (_SYSCTL / name.format(interface)).write_text(value, encoding="ascii")
