# SPDX-License-Identifier: Apache-2.0
"""What the tests' programs look like to a controller in one architecture and not in another: a class for each. The test
parameter `arch` says which it is."""

from __future__ import annotations

from typing import ClassVar

import ptf.testutils as tu

from vswitch import p4runtime
from vswitch.entries import Entry


class V1Model:
    """bmv2's simple_switch, and softswitch: a port is what a stage says, a policer belongs to its entry."""

    cpu_port = 510
    own_tables: ClassVar[dict[str, str]] = {}  # with their default actions

    def own_entries(self, ports: tuple[int, ...]) -> list[Entry]:
        """What the architecture's own tables need, beside the channel's entries, to use these ports."""
        return []

    def police(self, entry: Entry, *, rate: int, burst: int) -> None:
        """Both rates (bytes per second) and both bursts (bytes) of the attachment's policer."""
        p4runtime.police(entry, rate=rate, burst=burst)

    def unpolice(self, entry: Entry) -> None:
        """The attachment's policer back to its default: everything is green."""
        p4runtime.unpolice(entry)


class Pna(V1Model):
    """The portable NIC: each port has an entry of table `transmit`, and a policer by its number."""

    cpu_port = 0xFFFFFFFD  # PNA_PORT_CPU
    own_tables: ClassVar[dict[str, str]] = {"transmit": "no_such_port"}

    def own_entries(self, ports: tuple[int, ...]) -> list[Entry]:
        return [Entry("transmit", {"port": port}, "send", {"port": port}) for port in ports]

    def police(self, entry: Entry, *, rate: int, burst: int) -> None:
        p4runtime.police_cell(entry.match["in_port"], rate=rate, burst=burst)

    def unpolice(self, entry: Entry) -> None:
        p4runtime.police_cell(entry.match["in_port"], rate=None, burst=None)


_ARCHITECTURES: dict[str, V1Model] = {"v1model": V1Model(), "pna": Pna()}


def current() -> V1Model:
    """That of the programs under test."""
    return _ARCHITECTURES[tu.test_param_get("arch") or "v1model"]
