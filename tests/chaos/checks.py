# SPDX-License-Identifier: Apache-2.0
"""What must hold after every fault, and how long it takes to hold again."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from ipaddress import IPv4Address

import grpc
from hvchannel_control.client import ControlError
from hvchannel_control.config import load_guest, load_host
from hvchannel_control.entries import Entry
from hvchannel_control.profiles.guest import GuestProfile
from hvchannel_control.profiles.host import HostProfile
from hvchannel_control.vif import Vif
from hvchannel_daemons.feed import Delivery, Feed, FeedError, SessionState
from hvchannel_daemons.guestd.client import GuestClient, GuestClientError
from hvchannel_lab import lab_feed
from hvchannel_lab.supervisor import State

from tests.chaos.attachments import Attacher
from tests.chaos.documents import GONE, Ledger
from tests.chaos.effects import Effects
from tests.chaos.world import World
from tests.control.test_control_vswitch import OtherHand

RECOVERED_WITHIN = 180.0  # seconds
PROBE = "probe"
_POLL = 0.1
_AWAY = (FeedError, GuestClientError, ControlError, grpc.RpcError, OSError, LookupError, TimeoutError)


class Checks:
    def __init__(self, world: World, ledger: Ledger, effects: list[Effects], attacher: Attacher) -> None:
        self._world = world
        self._ledger = ledger
        self._effects = effects
        self._attacher = attacher
        self._leases = {vif: world.handle.vifs()[vif].lip for vif in (vm.vif for vm in world.topology.vms)}
        self._probes = 0

    # recovery

    def recovered(self, since: float) -> float:
        """Waits until the channel is whole again; seconds since `since`. Raises TimeoutError with what is missing."""
        self._awaited("every process runs", self._processes, since)
        self._probes += 1
        wanted: dict[str, int] = {}
        self._awaited("a document is put for each VM", lambda: self._put_probes(wanted), since)
        self._awaited("every VM has it", lambda: self._probes_there(wanted), since)
        self._awaited("every VIF is READY", self._sessions, since)
        self._awaited("every vSwitch is in sync", self._in_sync, since)
        return time.monotonic() - since

    def _awaited(self, what: str, missing: Callable[[], str], since: float) -> None:
        deadline, why = time.monotonic() + RECOVERED_WITHIN, ""
        while True:
            try:
                why = missing()
                if not why:
                    return
            except _AWAY as error:
                why = " ".join(str(error).split()) or type(error).__name__
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {RECOVERED_WITHIN:g} s: {what} ({why})")
            time.sleep(_POLL)

    def _processes(self) -> str:
        children = self._world.supervisor.children
        return ", ".join(f"{key} {c.state}" for key, c in children.items() if c.state is not State.RUNNING)

    def _put_probes(self, wanted: dict[str, int]) -> str:
        content = str(self._probes).encode()
        for vm in self._world.topology.vms:
            if vm.vif not in wanted:
                wanted[vm.vif] = self._world.handle.put(vm.vif, PROBE, content)
                self._ledger.confirm(vm.vif, PROBE, wanted[vm.vif], hashlib.sha256(content).digest())
        return ""

    def _probes_there(self, wanted: dict[str, int]) -> str:
        for vm in self._world.topology.vms:
            delivery = self._world.handle.delivery(vm.vif, PROBE)
            if delivery is None or not delivery.settled:
                session = self._world.handle.sessions().get(vm.vif)
                return (
                    f"{vm.vif} is {session.state} {session.reason!r}" if session else f"{vm.vif}: no session"
                )
        return ""

    def _sessions(self) -> str:
        sessions = self._world.handle.sessions()
        for vm in self._world.topology.vms:
            if vm.vif not in sessions or sessions[vm.vif].state is not SessionState.READY:
                said = sessions.get(vm.vif)
                return f"{vm.vif} is {said.state} {said.reason!r}" if said else f"{vm.vif} has no session"
        return ""

    def _in_sync(self) -> str:
        for who in self._world.topology.whos:
            status = self._world.handle.control_status(who)
            if not (status.switch_connected and status.in_sync):
                return f"{who}: {status.last_error or 'not in sync'}"
        return ""

    # invariants; all that changes by itself is paused

    def wrong(self) -> list[str]:
        """Every rule that does not hold, one line each."""
        try:
            self._awaited("every document is settled", self._unsettled, time.monotonic())
        except TimeoutError as error:
            return [str(error)]
        found = [line for vm in self._world.topology.vms for line in self._documents(vm.name, vm.vif)]
        found += self._tables() + self._attachments()
        for effects in self._effects:
            found += effects.wrong() + lab_feed.ask(self._world.topology, effects.reports).result(60)
        self._world.forgot.clear()
        return found

    def _deliveries(self) -> dict[str, list[Delivery]]:
        async def look(feed: Feed) -> dict[str, list[Delivery]]:
            return {vm.vif: await feed.deliveries(vm.vif) for vm in self._world.topology.vms}

        return lab_feed.ask(self._world.topology, look).result(60)

    def _unsettled(self) -> str:
        for vif, deliveries in self._deliveries().items():
            for each in deliveries:
                if each.acknowledged != each.document.revision:
                    return (
                        f"{vif} {each.document.key}: wanted {each.document.revision}, acknowledged "
                        f"{each.acknowledged}, last answer {each.outcome} {each.error}"
                    )
        return ""

    def _documents(self, vm: str, vif: str) -> list[str]:
        """Of one VM: what was promised is in the feed, and what is in the feed is in the guest, in its store and as
        files."""
        found: list[str] = []
        wanted = {each.document.key: each.document for each in self._deliveries()[vif]}
        for (whose, key), line in self._ledger.lines.items():
            if whose != vif:
                continue
            document = wanted.get(key)
            if document is None:
                if line.digest != GONE or line.revision:
                    found.append(f"{vif} {key}: revision {line.revision} is not in the feed any more")
                continue
            digest = GONE if document.deleted else document.sha256
            if document.revision < line.revision:
                found.append(
                    f"{vif} {key}: revision {line.revision} was confirmed, the feed has {document.revision}"
                )
            elif digest not in (line.digest, *line.perhaps):
                found.append(f"{vif} {key}: revision {document.revision} is nothing that was put last")
            line.revision, line.digest, line.perhaps = document.revision, digest, []
        live = {key: document for key, document in wanted.items() if not document.deleted}
        with GuestClient(self._world.topology.guestd_socket(vm)) as client:
            held = {document.key: document for document in client.documents()}
            if missing := live.keys() ^ held.keys():
                found.append(f"{vm}: the guest and the feed differ in {', '.join(sorted(missing))}")
            for key in live.keys() & held.keys():
                document, content = client.get(key)
                digest = hashlib.sha256(content).digest()
                if (document.revision, digest) != (live[key].revision, live[key].sha256):
                    found.append(f"{vm} {key}: not what the feed has: revision {document.revision}")
        files = self._world.disk(vm) / "documents"
        for key, document in live.items():
            try:
                right = hashlib.sha256((files / key).read_bytes()).digest() == document.sha256
            except OSError as error:
                found.append(f"{vm}: file of {key}: {error.strerror}")
                continue
            if not right:
                found.append(f"{vm}: file of {key} is not its document")
        left = {key for key, document in wanted.items() if document.deleted and (files / key).is_file()}
        return found + [f"{vm}: file of {key}, which is deleted, is there" for key in sorted(left)]

    def _tables(self) -> list[str]:
        try:
            # an attachment may just have been promised
            self._awaited("desired and actual tables are equal", self._different, time.monotonic())
        except TimeoutError as error:
            return [str(error)]
        return []

    def _different(self) -> str:
        found = []
        for who in self._world.topology.whos:
            desired = self._desired(who)
            actual = asyncio.run(self._actual(who))
            found += [f"{who}: entry is missing: {entry}" for entry in desired - actual]
            found += [f"{who}: entry should not be: {entry}" for entry in actual - desired]
        return f"{len(found)} differ: {found[0]}" if found else ""

    async def _actual(self, who: str) -> set[Entry]:
        program = "host_vswitch" if who == "host" else "guest_vswitch"
        hand = OtherHand(f"unix:{self._world.topology.p4runtime_socket(who)}", program)
        try:
            return await hand.read()
        finally:
            await hand.close()

    def _desired(self, who: str) -> set[Entry]:
        topology = self._world.topology
        file = topology.folder(who) / "control.toml"
        vifs = self._world.handle.vifs().values()
        if who == "host":
            host = HostProfile(load_host(file))
            entries = host.fixed_entries()
            for vif in vifs:
                entries += host.vif_entries(
                    Vif(vif.vif_id, vif.mac, vif.port, vif.vlan, IPv4Address(vif.lip), vif.vni)
                )
            return set(entries)
        guest, vm = GuestProfile(load_guest(file)), topology.vm(who)
        own = Vif(guest.config.vif.vif_id, vm.mac, vm.guestd_port, guest.config.channel.vlan)
        return set(guest.fixed_entries() + guest.vif_entries(own))

    def _attachments(self) -> list[str]:
        there = self._world.handle.vifs()
        found = [
            f"{vif}: its lease was {lip}, is {there[vif].lip if vif in there else 'none'}"
            for vif, lip in self._leases.items()
            if vif not in there or there[vif].lip != lip
        ]
        for vif, held in self._attacher.held.items():
            if held is not None and held != (vif in there):
                found.append(f"{vif}: {'attached' if held else 'detached'} was promised, and is not so")
            self._attacher.held[vif] = vif in there
        return found
