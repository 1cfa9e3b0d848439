# SPDX-License-Identifier: Apache-2.0
"""One attachment of a VIF."""

from dataclasses import dataclass
from ipaddress import IPv4Address


@dataclass(frozen=True, slots=True)
class Vif:
    """A VIF, attached to a port of the vSwitch. A guest knows neither its own LIP nor the VNI (0)."""

    vif_id: str
    mac: str
    port: int
    vlan: int
    lip: IPv4Address | None = None
    vni: int = 0
