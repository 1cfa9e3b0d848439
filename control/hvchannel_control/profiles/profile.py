# SPDX-License-Identifier: Apache-2.0
"""What the rest of the controller knows of a profile."""

from typing import Protocol

from hvchannel_control.entries import Entry
from hvchannel_control.probe import Route
from hvchannel_control.vif import Vif


class Profile(Protocol):
    @property
    def name(self) -> str:
        """Of the profile: "host" or "guest"."""

    @property
    def program(self) -> str:
        """Of the P4 program, as its artefacts in p4src/compiled are named."""

    def fixed_entries(self) -> list[Entry]:
        """What the vSwitch holds whoever is attached: the hypervisor's end."""

    def vif_entries(self, vif: Vif) -> list[Entry]:
        """What the vSwitch holds because this VIF is attached."""

    def probe_route(self, vif: Vif) -> Route | None:
        """How a probe of the VIF passes; None where the vSwitch is not the one to probe from."""
