# SPDX-License-Identifier: Apache-2.0
"""The controller: the attachments, the vSwitch that shall hold them, and who listens."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from ipaddress import IPv4Address

import structlog
from hvchannel_telemetry.health import Health

from hvchannel_control.api import control_pb2
from hvchannel_control.attachments import Attachments, Reason, RefusedError
from hvchannel_control.compiled import CompiledProgram
from hvchannel_control.config import SwitchSection
from hvchannel_control.entries import Entry
from hvchannel_control.inspection import entry_states, of_switch
from hvchannel_control.link import LinkState, link_state
from hvchannel_control.probe import probe
from hvchannel_control.profiles.profile import Profile
from hvchannel_control.reports import Reports
from hvchannel_control.vif import Vif
from hvchannel_control.vswitch import SwitchError, VSwitch
from hvchannel_control.watchers import Watchers

log = structlog.get_logger()

_PROBE_READ_S = 15.0  # a vSwitch that is handed its first PacketOut may build a program for it first

_LINKS = {
    LinkState.UP: control_pb2.Link.UP,
    LinkState.DOWN: control_pb2.Link.DOWN,
    LinkState.NO_CARRIER: control_pb2.Link.NO_CARRIER,
    LinkState.ABSENT: control_pb2.Link.ABSENT,
}


class Controller:
    def __init__(
        self,
        profile: Profile,
        attachments: Attachments,
        settings: SwitchSection,
        program: CompiledProgram,
        *,
        cip: IPv4Address,
    ) -> None:
        self._profile = profile
        self._attachments = attachments
        self._settings = settings
        self._cip = cip
        self._realised: set[str] = set()
        self._entries: dict[str, tuple[Vif, list[Entry]]] = {}
        self._reports = Reports(self._vif_at)
        self._probing = asyncio.Lock()
        self.watchers = Watchers()
        self.vswitch = VSwitch(profile.name, settings, program, self._desired, self._observed, self._reports)

    def attach(
        self, vif_id: str, mac: str, port: int, vlan: int, vni: int = 0, interface: str = ""
    ) -> control_pb2.Vif:
        """Attaches a VIF, at a port or at that of an interface, and starts its realisation. Raises RefusedError and
        StoreError."""
        if interface:
            port = self._port_of(interface, beside=port)
        known = self._attachments.get(vif_id) is not None
        vif = self._attachments.attach(vif_id, mac, port, vlan, vni)
        if not known:
            log.info(
                "vif_attached",
                vif=vif_id,
                mac=vif.mac,
                port=vif.port,
                vlan=vif.vlan,
                vni=vif.vni,
                lip=str(vif.lip),
            )
            self.watchers.attached(self._message(vif))
            self.vswitch.wake()
        return self._message(vif)

    def detach(self, vif_id: str) -> None:
        """Detaches a VIF. Raises RefusedError and StoreError."""
        vif = self._attachments.detach(vif_id)
        log.info("vif_detached", vif=vif_id, mac=vif.mac, port=vif.port, lip=str(vif.lip))
        self._realised.discard(vif_id)
        self._entries.pop(vif_id, None)
        self.watchers.detached(vif_id)
        self.vswitch.wake()

    def vifs(self) -> list[control_pb2.Vif]:
        """All attached VIFs, by VIF id."""
        return [self._message(vif) for vif in self._attachments.all()]

    def watch(self) -> AsyncIterator[control_pb2.Event]:
        return self.watchers.watch(self.vifs)

    async def status(self) -> control_pb2.Status:
        verdicts = await self.vswitch.read_verdicts()
        state = self.vswitch.state
        return control_pb2.Status(
            profile=self._profile.name,
            switch_address=self._settings.address,
            switch_connected=state.connected,
            in_sync=state.in_sync,
            reconciliations=state.reconciliations,
            writes=state.writes,
            last_error=state.last_error,
            verdicts={
                name: control_pb2.Count(packets=count.packets, bytes=count.bytes)
                for name, count in verdicts.items()
            },
            digests=self._reports.digests,
            leases_used=self._attachments.leases_used,
            leases_total=self._attachments.leases_total,
        )

    async def inspect(self, vif_id: str) -> control_pb2.Inspection:
        """What the vSwitch holds for a VIF. Raises RefusedError."""
        vif = self._vif(vif_id)
        fixed = [entry for entry in self._profile.fixed_entries() if of_switch(entry, vif.vni)]
        wanted = [*fixed, *self._profile.vif_entries(vif)]
        answer = control_pb2.Inspection(vif=self._message(vif))
        try:
            found = await self.vswitch.read(wanted)
        except SwitchError as error:
            answer.error = str(error)
        else:
            answer.entries.extend(entry_states(wanted, {entry.key for entry in fixed}, found))
        return answer

    async def probe(self, vif_id: str, tcp_port: int) -> control_pb2.ProbeResult:
        """Sends frames to a VIF's guest and tells their fate. Raises RefusedError."""
        route = self._profile.probe_route(self._vif(vif_id))
        if route is None:
            raise RefusedError(Reason.FIXED, "a guest is probed from its hypervisor")
        async with self._probing:  # the counters of two at once would tell of both
            try:
                return await probe(
                    route,
                    tcp_port,
                    lambda entries: self.vswitch.read(entries, _PROBE_READ_S),
                    lambda frames: self.vswitch.send(frames, vni=route.vni),
                )
            except SwitchError as error:
                return control_pb2.ProbeResult(error=str(error))

    def _vif(self, vif_id: str) -> Vif:
        vif = self._attachments.get(vif_id)
        if vif is None:
            raise RefusedError(Reason.ABSENT, f"VIF {vif_id!r} is not attached")
        return vif

    def realised(self) -> dict[str, bool]:
        """Whether the vSwitch holds it, by VIF."""
        return {vif.vif_id: vif.vif_id in self._realised for vif in self._attachments.all()}

    @property
    def leases(self) -> tuple[int, int]:
        """How many LIPs are leased, of how many."""
        return self._attachments.leases_used, self._attachments.leases_total

    @property
    def digests(self) -> Mapping[str, int]:
        """Reports by digest name."""
        return self._reports.digests

    @property
    def profile(self) -> str:
        """ "host" or "guest"."""
        return self._profile.name

    def health(self) -> Health:
        """The controller's parts: its vSwitch answers, and holds what it should."""
        state = self.vswitch.state
        return Health(
            {
                "switch": lambda: "" if state.connected else state.last_error or "not reached yet",
                "tables": lambda: "" if state.in_sync else state.last_error or "not written yet",
            }
        )

    def _desired(self) -> list[Entry]:
        entries = self._profile.fixed_entries()
        for vif in self._attachments.all():
            entries += self._entries_of(vif)
        return entries

    def _entries_of(self, vif: Vif) -> list[Entry]:
        """Made once per attachment: a thousand are asked for in every round."""
        known, entries = self._entries.get(vif.vif_id, (None, []))
        if known != vif:
            entries = self._profile.vif_entries(vif)
            self._entries[vif.vif_id] = vif, entries
        return entries

    def _observed(self, actual: set[Entry]) -> None:
        """A VIF is realised when the vSwitch holds its entries and those of the hypervisor's end."""
        fixed = actual.issuperset(self._profile.fixed_entries())
        for vif in self._attachments.all():
            realised = fixed and actual.issuperset(self._entries_of(vif))
            if realised == (vif.vif_id in self._realised):
                continue
            (self._realised.add if realised else self._realised.discard)(vif.vif_id)
            log.info("vif_realised" if realised else "vif_not_realised", vif=vif.vif_id, port=vif.port)
            self.watchers.attached(self._message(vif))

    def _message(self, vif: Vif) -> control_pb2.Vif:
        realised = vif.vif_id in self._realised
        return control_pb2.Vif(
            vif_id=vif.vif_id,
            mac=vif.mac,
            port=vif.port,
            vlan=vif.vlan,
            vni=vif.vni,
            lip=str(vif.lip or ""),
            cip=str(self._cip),
            state=control_pb2.Vif.REALISED if realised else control_pb2.Vif.PENDING,
            link=self._link(vif.port),
        )

    def _link(self, port: int) -> control_pb2.Link:
        interfaces = self._settings.interfaces
        if port in interfaces:
            return control_pb2.Link(state=_LINKS[link_state(interfaces[port])], interface=interfaces[port])
        link = control_pb2.Link
        return link(state=link.NO_PORT if interfaces else link.STATE_UNSPECIFIED)

    def _port_of(self, interface: str, beside: int) -> int:
        if beside:
            raise RefusedError(Reason.INVALID, f"port {beside} and interface {interface!r}: give one of them")
        ports = {name: port for port, name in self._settings.interfaces.items()}
        if interface not in ports:
            valid = ", ".join(sorted(ports)) or "none, the configuration has no switch.interfaces"
            raise RefusedError(Reason.INVALID, f"interface {interface!r} is at no port (valid: {valid})")
        return ports[interface]

    def _vif_at(self, port: int, vni: int) -> str | None:
        """Who is to blame for what came in at a port. Without a VNI (a tag that is nobody's): all that are there."""
        if vni and (vif := self._attachments.at(port, vni)):
            return vif.vif_id
        return ", ".join(vif.vif_id for vif in self._attachments.all() if vif.port == port) or None
