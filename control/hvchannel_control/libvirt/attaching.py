# SPDX-License-Identifier: Apache-2.0
"""A domain's VIFs at the controller. Whatever is done here may be done again: a repeat changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import grpc

from hvchannel_control.api import control_pb2
from hvchannel_control.client import ControlClient, ControlError
from hvchannel_control.libvirt.domain import Domain, Wanted
from hvchannel_control.libvirt.owners import Owner, Owners


class AttachingError(Exception):
    """What could not be done; one line per VIF."""


class Attaching:
    """Methods do what they can, then raise AttachingError for the rest; and OSError of `owners`."""

    def __init__(
        self,
        client: ControlClient,
        owners: Owners,
        within: float,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        """`within`: seconds to wait for another process that is at it. `say` hears of what was changed."""
        self._client = client
        self._owners = owners
        self._within = within
        self._say = say

    def attach(self, domain: Domain) -> None:
        """Those whose interfaces are plugged in."""
        owner = Owner(domain.name, domain.uuid)
        self._each(domain.plugged, lambda vif, held: self._attach(vif, owner, held.get(vif.vif_id)))

    def detach(self, domain: Domain) -> None:
        """All that are the domain's, those too that its XML no longer has."""
        self._detach_others(domain, keep=())

    def sync(self, domain: Domain) -> None:
        """Attached what is plugged in, and nothing else of the domain's."""
        problems = []
        for act in (self.attach, lambda domain: self._detach_others(domain, keep=domain.plugged)):
            try:
                act(domain)
            except AttachingError as error:
                problems.append(str(error))
        if problems:
            raise AttachingError("\n".join(problems))

    def detach_gone(self, gone: dict[str, Owner]) -> None:
        """VIFs of domains that run no more."""
        self._each(
            (Wanted(vif_id, "", "") for vif_id in gone),
            lambda vif, held: self._detach(vif, gone[vif.vif_id], held.get(vif.vif_id)),
        )

    def _detach_others(self, domain: Domain, keep: Iterable[Wanted]) -> None:
        owner = Owner(domain.name, domain.uuid)
        kept = {vif.vif_id for vif in keep}
        vifs = {
            vif_id: Wanted(vif_id, "", "")
            for vif_id, its in self._owners.all().items()
            if its.uuid == owner.uuid
        }
        vifs |= {vif.vif_id: vif for vif in domain.vifs}
        others = [vif for vif_id, vif in vifs.items() if vif_id not in kept]
        self._each(others, lambda vif, held: self._detach(vif, owner, held.get(vif.vif_id)))

    def _each(
        self, vifs: Iterable[Wanted], act: Callable[[Wanted, dict[str, control_pb2.Vif]], None]
    ) -> None:
        problems, vifs = [], list(vifs)
        if not vifs:
            return
        try:
            with self._owners.locked(self._within):
                held = {vif.vif_id: vif for vif in self._client.vifs()}
                for vif in vifs:
                    try:
                        act(vif, held)
                    except (ControlError, AttachingError) as error:
                        problems.append(f"VIF {vif.vif_id!r}: {error}")
        except (ControlError, TimeoutError) as error:
            problems.append(f"VIF {', '.join(repr(vif.vif_id) for vif in vifs)}: {error}")
        if problems:
            raise AttachingError("\n".join(problems))

    def _attach(self, vif: Wanted, owner: Owner, held: control_pb2.Vif | None) -> None:
        its = self._owners.of(vif.vif_id) if held else None
        if its and its.uuid != owner.uuid:
            raise AttachingError(
                f"is attached for domain {its.name!r} ({its.uuid}); give this domain's another id, or, if that one "
                f"is gone: hvchannel-control detach {vif.vif_id}"
            )
        try:
            new = self._ask(vif)
        except ControlError as error:
            # what the domain had before it was changed, or before a restart of the machine
            is_own = held is not None and (its is not None or held.mac == vif.mac)
            if error.code is not grpc.StatusCode.ALREADY_EXISTS or not is_own:
                raise
            self._client.detach(vif.vif_id)
            held, new = None, self._ask(vif)
        self._owners.claim(vif.vif_id, owner)
        if held is None:
            self._say(f"VIF {vif.vif_id!r} is attached at {vif.interface} (port {new.port}), LIP {new.lip}")

    def _ask(self, vif: Wanted) -> control_pb2.Vif:
        interface = "" if vif.port else vif.interface
        return self._client.attach(vif.vif_id, vif.mac, vif.port, vif.vlan, vif.vni, interface=interface)

    def _detach(self, vif: Wanted, owner: Owner, held: control_pb2.Vif | None) -> None:
        """Nothing of another domain, nor what somebody attached by hand for another MAC."""
        its = self._owners.of(vif.vif_id)
        if its and its.uuid != owner.uuid:
            return
        if held is not None:
            if its is None and held.mac != vif.mac:
                return
            try:
                self._client.detach(vif.vif_id)
            except ControlError as error:
                if error.code is not grpc.StatusCode.NOT_FOUND:
                    raise
            self._say(f"VIF {vif.vif_id!r} is detached")
        self._owners.forget(vif.vif_id)
