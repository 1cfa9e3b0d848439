# SPDX-License-Identifier: Apache-2.0
"""The attached VIFs: what may be attached beside what, each refusal saying what clashes with what."""

import enum
import re
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Protocol

from hvchannel_control.addresses import normalise_mac
from hvchannel_control.config import MAX_PORT, HostConfig
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

    def attach(self, vif_id: str, mac: str, port: int, vlan: int) -> Vif:
        """Attaches a VIF durably (`vlan` 0: the default one); an identical repeat changes nothing. Raises
        RefusedError."""

    def detach(self, vif_id: str) -> Vif:
        """Detaches a VIF durably and releases its LIP. Raises RefusedError."""

    @property
    def leases_used(self) -> int: ...

    @property
    def leases_total(self) -> int: ...


class HostAttachments:
    """The VIFs of a host, kept in a store.

    Raises RefusedError when a kept attachment clashes with the configuration, which has changed since. A
    lease outside the pool moves into it: the LIP is the host's own affair, and who dials it hears of the
    change. `moved` hears of each.
    """

    def __init__(
        self, config: HostConfig, store: Store, moved: Callable[[Vif, Vif], None] = lambda _old, _new: None
    ) -> None:
        self._config = config
        self._store = store
        self._leases = LeaseTable(config.pool)
        self._vifs: dict[str, Vif] = {}
        outside: list[Vif] = []
        for vif in store.vifs():
            self._check(vif)
            assert vif.lip is not None
            if config.pool.holds(vif.lip):
                self._leases.restore(vif.vif_id, vif.lip)
            else:
                outside.append(vif)
            self._vifs[vif.vif_id] = vif
        for vif in outside:
            lip = self._lease(vif.vif_id)
            store.move(vif.vif_id, lip)
            self._vifs[vif.vif_id] = Vif(vif.vif_id, vif.mac, vif.port, vif.vlan, lip)
            moved(vif, self._vifs[vif.vif_id])

    def all(self) -> list[Vif]:
        return sorted(self._vifs.values(), key=lambda vif: vif.vif_id)

    @property
    def leases_used(self) -> int:
        return self._leases.used

    @property
    def leases_total(self) -> int:
        return self._leases.total

    def attach(self, vif_id: str, mac: str, port: int, vlan: int) -> Vif:
        try:
            mac = normalise_mac(mac)
        except ValueError as error:
            raise RefusedError(Reason.INVALID, f"mac: {error}") from error
        wanted = Vif(vif_id, mac, port, vlan or self._config.channel.vlan)
        held = self._vifs.get(vif_id)
        if held is not None:
            if (held.mac, held.port, held.vlan) == (wanted.mac, wanted.port, wanted.vlan):
                return held
            raise RefusedError(
                Reason.CLASH,
                f"VIF {vif_id!r} is already attached, with MAC {held.mac} on port {held.port} "
                f"and VLAN {held.vlan}",
            )
        self._check(wanted)
        vif = Vif(vif_id, wanted.mac, wanted.port, wanted.vlan, self._lease(vif_id))
        try:
            self._store.attach(vif)
        except BaseException:
            self._leases.release(vif_id)
            raise
        self._vifs[vif_id] = vif
        return vif

    def detach(self, vif_id: str) -> Vif:
        vif = self._vifs.get(vif_id)
        if vif is None:
            raise RefusedError(Reason.ABSENT, f"VIF {vif_id!r} is not attached")
        self._store.detach(vif_id)
        del self._vifs[vif_id]
        self._leases.release(vif_id)
        return vif

    def _lease(self, vif_id: str) -> IPv4Address:
        try:
            return self._leases.lease(vif_id)
        except PoolExhaustedError as error:
            raise RefusedError(Reason.EXHAUSTED, str(error)) from error

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
        if vif.vlan in channel.reserved_vlans:
            raise RefusedError(
                Reason.CLASH,
                f"VLAN {vif.vlan} of VIF {vif.vif_id!r} is used by tenants (channel.reserved_vlans: "
                f"{', '.join(map(str, sorted(channel.reserved_vlans)))})",
            )
        if vif.port == channel.hypervisor_port:
            raise RefusedError(
                Reason.CLASH,
                f"port {vif.port} of VIF {vif.vif_id!r} is the hypervisor's (channel.hypervisor_port)",
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
        for other in self._vifs.values():
            if other.mac == vif.mac:
                raise RefusedError(
                    Reason.CLASH,
                    f"MAC {vif.mac} is already attached as VIF {other.vif_id!r} on port {other.port}",
                )
            if other.port == vif.port:
                raise RefusedError(
                    Reason.CLASH, f"port {vif.port} is taken by VIF {other.vif_id!r}, with MAC {other.mac}"
                )


class FixedAttachment:
    """A guest's own VIF: attached once and for all."""

    leases_used = 0
    leases_total = 0

    def __init__(self, vif: Vif) -> None:
        self._vif = vif

    def all(self) -> list[Vif]:
        return [self._vif]

    def attach(self, vif_id: str, mac: str, port: int, vlan: int) -> Vif:
        raise self._refusal()

    def detach(self, vif_id: str) -> Vif:
        raise self._refusal()

    def _refusal(self) -> RefusedError:
        return RefusedError(
            Reason.FIXED,
            f"the guest's own VIF {self._vif.vif_id!r} is fixed; VIFs are attached and detached at the host",
        )
