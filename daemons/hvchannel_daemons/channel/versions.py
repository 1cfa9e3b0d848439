# SPDX-License-Identifier: Apache-2.0
"""Negotiation of the channel protocol's version: the greatest that both ends speak."""

from dataclasses import dataclass
from importlib import metadata


@dataclass(frozen=True, slots=True)
class Versions:
    """The versions a program speaks, both ends inclusive."""

    least: int
    greatest: int

    def __str__(self) -> str:
        return str(self.least) if self.least == self.greatest else f"{self.least} to {self.greatest}"


SPOKEN = Versions(1, 2)
GROUPS = 2  # the first version with atomic groups
AGENT = f"hvchannel {metadata.version('hvchannel')}"


class VersionMismatch(Exception):  # noqa: N818 - reads as the protocol's own reason
    """No version in common; the message names what both ends speak."""


def negotiate(host: Versions, guest: Versions) -> int:
    """The version of the session. Raises VersionMismatch."""
    version = min(host.greatest, guest.greatest)
    if host.least > host.greatest or version < max(host.least, guest.least):
        raise VersionMismatch(
            f"no protocol version in common: hypervisor speaks {host}, guest speaks {guest}"
        )
    return version
