# SPDX-License-Identifier: Apache-2.0
"""The attached VIFs: what may be attached beside what, each refusal saying what clashes with what."""

import enum
import re
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Protocol

from hvchannel_control.addresses import normalise_mac
from hvchannel_control.config import HostConfig, LogicalSwitch
from hvchannel_control.config_fields import MAX_PORT
from hvchannel_control.leases import LeaseTable, PoolExhaustedError
from hvchannel_control.store import Store
from hvchannel_control.vif import Vif

_VIF_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_MAX_VLAN = 4094


class Reason(enum.Enum):
    INVALID = "invalid"
    CLASH = "clash"
    EXHAUSTED = "exhausted"
    ABSENT = "absent"
    FIXED = "fixed"


class RefusedError(Exception):
    """What was asked for cannot be done; the text names the offender and what it clashes with."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Attachments(Protocol):
    """The VIFs of one vSwitch."""

    def all(self) -> list[Vif]:
        """By VIF id."""

    def get(self, vif_id: str) -> Vif | None:
        """The attached VIF of that id."""

    def at(self, port: int, vni: int) -> Vif | None:
        """The VIF of a logical switch at a port; in a guest, which knows no VNI, the one at the port."""

    def attach(self, vif_id: str, mac: str, port: int, vlan: int, vni: int = 0) -> Vif:
        """Attaches a VIF durably; an identical repeat changes nothing. `vlan` and `vni` 0: the default ones.
        Raises RefusedError."""

    def detach(self, vif_id: str) -> Vif:
        """Detaches a VIF durably and releases its LIP. Raises RefusedError."""

    @property
    def leases_used(self) -> int: ...

    @property
    def leases_total(self) -> int: ...


class HostAttachments:
    """The VIFs of a host, kept in a store.

    Raises RefusedError when a kept attachment clashes with the configuration, which has changed since. A
    lease outside its logical switch's pool moves into it: the LIP is the host's own affair, and who dials it
    hears of the change. `moved` hears of each.
    """

    def __init__(
        self, config: HostConfig, store: Store, moved: Callable[[Vif, Vif], None] = lambda _old, _new: None
    ) -> None:
        self._config = config
        self._store = store
        self._leases = {vni: LeaseTable(switch.pool) for vni, switch in config.switches.items()}
        self._vifs: dict[str, Vif] = {}
        self._by_mac: dict[str, Vif] = {}
        self._by_vlan: dict[tuple[int, int], Vif] = {}  # and port, which comes first
        self._by_vni: dict[tuple[int, int], Vif] = {}  # and port, which comes first
        outside: list[Vif] = []
        for kept in store.vifs():
            vif = replace(kept, vni=kept.vni or config.channel.vni)
            self._check(vif)
            assert vif.lip is not None
            if config.switches[vif.vni].pool.holds(vif.lip):
                self._leases[vif.vni].restore(vif.vif_id, vif.lip)
            else:
                outside.append(vif)
            self._add(vif)
        for vif in outside:
            new = replace(vif, lip=self._lease(vif))
            assert new.lip is not None
            store.move(vif.vif_id, new.lip)
            self._add(new)
            moved(vif, new)

    def all(self) -> list[Vif]:
        return sorted(self._vifs.values(), key=lambda vif: vif.vif_id)

    def get(self, vif_id: str) -> Vif | None:
        return self._vifs.get(vif_id)

    def at(self, port: int, vni: int) -> Vif | None:
        return self._by_vni.get((port, vni))

    @property
    def leases_used(self) -> int:
        return sum(leases.used for leases in self._leases.values())

    @property
    def leases_total(self) -> int:
        return sum(leases.total for leases in self._leases.values())

    def attach(self, vif_id: str, mac: str, port: int, vlan: int, vni: int = 0) -> Vif:
        try:
            mac = normalise_mac(mac)
        except ValueError as error:
            raise RefusedError(Reason.INVALID, f"mac: {error}") from error
        vni = vni or self._config.channel.vni
        switch = self._logical_switch(vni)
        wanted = Vif(vif_id, mac, port, vlan or switch.vlan, vni=vni)
        held = self._vifs.get(vif_id)
        if held is not None:
            if replace(held, lip=None) == wanted:
                return held
            raise RefusedError(
                Reason.CLASH,
                f"VIF {vif_id!r} is already attached, with MAC {held.mac} on port {held.port} "
                f"and VLAN {held.vlan}{self._on_vni(held)}",
            )
        self._check(wanted)
        vif = replace(wanted, lip=self._lease(wanted))
        try:
            self._store.attach(replace(vif, vni=0) if vni == self._config.channel.vni else vif)
        except BaseException:
            self._leases[vni].release(vif_id)
            raise
        self._add(vif)
        return vif

    def detach(self, vif_id: str) -> Vif:
        vif = self._vifs.get(vif_id)
        if vif is None:
            raise RefusedError(Reason.ABSENT, f"VIF {vif_id!r} is not attached")
        self._store.detach(vif_id)
        del self._vifs[vif_id]
        del self._by_mac[vif.mac]
        del self._by_vlan[vif.port, vif.vlan]
        del self._by_vni[vif.port, vif.vni]
        self._leases[vif.vni].release(vif_id)
        return vif

    def _add(self, vif: Vif) -> None:
        self._vifs[vif.vif_id] = vif
        self._by_mac[vif.mac] = vif
        self._by_vlan[vif.port, vif.vlan] = vif
        self._by_vni[vif.port, vif.vni] = vif

    def _lease(self, vif: Vif) -> IPv4Address:
        try:
            return self._leases[vif.vni].lease(vif.vif_id)
        except PoolExhaustedError as error:
            raise RefusedError(Reason.EXHAUSTED, str(error)) from error

    def _logical_switch(self, vni: int) -> LogicalSwitch:
        switch = self._config.switches.get(vni)
        if switch is None:
            valid = ", ".join(map(str, self._config.switches))
            raise RefusedError(
                Reason.INVALID, f"vni: {vni} is no logical switch of this host (valid: {valid})"
            )
        return switch

    def _on_vni(self, vif: Vif) -> str:
        """Said only where there are several."""
        return f" on VNI {vif.vni}" if len(self._config.switches) > 1 else ""

    def _check(self, vif: Vif) -> None:
        """Raises RefusedError when the VIF is none, or clashes with the configuration or an attached one."""
        channel, cpu_port = self._config.channel, self._config.switch.cpu_port
        if not _VIF_ID.fullmatch(vif.vif_id):
            raise RefusedError(
                Reason.INVALID,
                f"vif_id: {vif.vif_id!r} is not 1 to 63 of [A-Za-z0-9._-], beginning with a letter or digit",
            )
        if not 1 <= vif.port <= MAX_PORT:
            raise RefusedError(Reason.INVALID, f"port: {vif.port} is not one of 1 to {MAX_PORT}")
        if not 1 <= vif.vlan <= _MAX_VLAN:
            raise RefusedError(Reason.INVALID, f"vlan: {vif.vlan} is not one of 1 to {_MAX_VLAN}")
        self._logical_switch(vif.vni)
        if vif.vlan in channel.reserved_vlans:
            raise RefusedError(
                Reason.CLASH,
                f"VLAN {vif.vlan} of VIF {vif.vif_id!r} is used by tenants (channel.reserved_vlans: "
                f"{', '.join(map(str, sorted(channel.reserved_vlans)))})",
            )
        for switch in self._config.switches.values():
            if vif.port == switch.hypervisor_port:
                where = "channel" if switch.vni == channel.vni else f"logical_switch {switch.vni}"
                raise RefusedError(
                    Reason.CLASH,
                    f"port {vif.port} of VIF {vif.vif_id!r} is the hypervisor's ({where}.hypervisor_port)",
                )
        if vif.port == cpu_port:
            raise RefusedError(
                Reason.CLASH, f"port {vif.port} of VIF {vif.vif_id!r} is the controller's (switch.cpu_port)"
            )
        if vif.mac == channel.hypervisor_mac:
            raise RefusedError(
                Reason.CLASH,
                f"MAC {vif.mac} of VIF {vif.vif_id!r} is the hypervisor's (channel.hypervisor_mac)",
            )
        self._check_beside_others(vif)

    def _check_beside_others(self, vif: Vif) -> None:
        """A MAC is one VIF's. A port carries one VIF per logical switch, each with a VLAN id of its own."""
        if other := self._by_mac.get(vif.mac):
            raise RefusedError(
                Reason.CLASH,
                f"MAC {vif.mac} is already attached as VIF {other.vif_id!r} on port {other.port}",
            )
        if other := self._by_vni.get((vif.port, vif.vni)):
            free = [vni for vni in self._config.switches if (vif.port, vni) not in self._by_vni]
            hint = f"; free there: VNI {', '.join(map(str, free))}" if free else ""
            raise RefusedError(
                Reason.CLASH,
                f"port {vif.port} is taken by VIF {other.vif_id!r}, with MAC {other.mac}{self._on_vni(other)}{hint}",
            )
        if other := self._by_vlan.get((vif.port, vif.vlan)):
            raise RefusedError(
                Reason.CLASH,
                f"VLAN {vif.vlan} on port {vif.port} is taken by VIF {other.vif_id!r}, with MAC {other.mac}"
                f"{self._on_vni(other)}; give this one another (vlan)",
            )


class FixedAttachment:
    """A guest's own VIF: attached once and for all."""

    leases_used = 0
    leases_total = 0

    def __init__(self, vif: Vif) -> None:
        self._vif = vif

    def all(self) -> list[Vif]:
        return [self._vif]

    def get(self, vif_id: str) -> Vif | None:
        return self._vif if self._vif.vif_id == vif_id else None

    def at(self, port: int, vni: int) -> Vif | None:
        return self._vif if self._vif.port == port else None

    def attach(self, vif_id: str, mac: str, port: int, vlan: int, vni: int = 0) -> Vif:
        raise self._refusal()

    def detach(self, vif_id: str) -> Vif:
        raise self._refusal()

    def _refusal(self) -> RefusedError:
        return RefusedError(
            Reason.FIXED,
            f"the guest's own VIF {self._vif.vif_id!r} is fixed; VIFs are attached and detached at the host",
        )
