# SPDX-License-Identifier: Apache-2.0
"""What a controller must know of the architecture that a vSwitch's program was compiled for: a class for each, and
nothing anywhere else. A profile says what the stages of p4src need; a target adds what the architecture's own files
need (docs/ports.md)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from hvchannel_control.entries import Entry, entry
from hvchannel_control.probe import Route
from hvchannel_control.profiles.profile import Profile
from hvchannel_control.vif import Vif


class Target(Protocol):
    """One architecture, as its programs look over P4Runtime."""

    @property
    def folder(self) -> str:
        """Of its artefacts, in p4src/compiled; empty: at the top."""

    def entries(self, wanted: Iterable[Entry]) -> Iterator[Entry]:
        """The entries that a profile wants, and those that this architecture wants because of them."""


class V1Model:
    """simple_switch and softswitch: what the stages need is all."""

    folder = ""

    def entries(self, wanted: Iterable[Entry]) -> Iterator[Entry]:
        yield from wanted


class Pna:
    """The Portable NIC Architecture: a port is entered in `transmit` before a packet leaves by it, the CPU port is
    PNA's own, and policers are cells of an indexed meter, one per port: the VIFs of a trunk share one."""

    folder = "pna"
    cpu_port = 0xFFFFFFFD  # PNA_PORT_CPU

    def entries(self, wanted: Iterable[Entry]) -> Iterator[Entry]:
        for each in wanted:
            match = dict(each.match)
            if each.action == "attach_controller":
                yield replace(each, match=entry("", match | {"in_port": self.cpu_port}, "").match)
                continue
            if each.meter is not None:
                yield entry("policer", {"index": match["in_port"]}, "", meter=each.meter)
            if each.table == "member":
                yield entry("transmit", {"port": match["port"]}, "send", {"port": match["port"]})
            yield replace(each, meter=None)


TARGETS: dict[str, Target] = {"v1model": V1Model(), "pna": Pna()}
"""By the name that a configuration gives (`switch.architecture`)."""


@dataclass(frozen=True, slots=True)
class TargetedProfile:
    """A profile on a target: a profile itself."""

    profile: Profile
    target: Target

    @property
    def name(self) -> str:
        return self.profile.name

    @property
    def program(self) -> str:
        return self.profile.program

    def fixed_entries(self) -> list[Entry]:
        return list(self.target.entries(self.profile.fixed_entries()))

    def vif_entries(self, vif: Vif) -> list[Entry]:
        return list(self.target.entries(self.profile.vif_entries(vif)))

    def probe_route(self, vif: Vif) -> Route | None:
        route = self.profile.probe_route(vif)
        if route is None:
            return None
        return replace(route, to=self._on_route(route.to), back=self._on_route(route.back))

    def _on_route(self, entries: Sequence[Entry]) -> list[Entry]:
        """As the target has them; without what it adds, which may have no counters."""
        tables = {entry.table for entry in entries}
        return [entry for entry in self.target.entries(entries) if entry.table in tables]
