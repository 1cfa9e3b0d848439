# SPDX-License-Identifier: Apache-2.0
"""What `hvchannel run` shows in a lab of several hypervisors: how the VIFs stand, a document to each VM, a packet's
journey on each hypervisor, and a VM that moves from the first to the second while a document waits for it.

Each part is looked at, not assumed: one that cannot be shown is an error that names it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hvchannel_daemons.feed.interface import Delivery, Feed, Outcome, SessionState
from hvchannel_daemons.status.overview import Overview

from hvchannel_lab import journey, lab_feed
from hvchannel_lab.handle import Handle, LabTimeoutError
from hvchannel_lab.journey import CONTENT_TYPE, DOCUMENT_KEY, Journey
from hvchannel_lab.move import Move, Step
from hvchannel_lab.parts import Vm

_WITHIN = 30.0  # seconds, for a document to be acknowledged
_DURING_KEY = "during/move"


class TourError(RuntimeError):
    """Something that was to be shown could not be; the message says what, and what was found instead."""


@dataclass(frozen=True)
class Delivered:
    """A document that a VM holds, has acknowledged, and has answered with its size and digest. `acknowledged_after`:
    seconds from before the put until the control plane knew."""

    vm: str
    host: str
    key: str
    revision: int
    bytes: int
    acknowledged_after: float
    answer: str


@dataclass(frozen=True)
class Moved:
    """A VM's way from one hypervisor to another. `during` is what was put while it was on neither."""

    vm: str
    source: str
    destination: str
    lip_before: str
    lip_after: str
    steps: tuple[Step, ...]
    during: Delivered


Shown = Overview | Sequence[Delivered] | Sequence[Journey] | Moved


@dataclass(frozen=True)
class Part:
    """One part of the tour. `show` blocks, and must be called after those of the parts before it."""

    name: str  # for programs
    title: str
    show: Callable[[], Shown]


class Tour:
    """Of a lab with two or more hypervisors. What its parts' `show` raise: TourError, JourneyError, MoveError,
    LabTimeoutError, FeedError, SwitchReadError, OSError."""

    def __init__(self, handle: Handle) -> None:
        topology = handle.topology
        self._handle = handle
        first, second = topology.hosts[:2]
        self._residents = [next(vm for vm in topology.vms if vm.home == host) for host in topology.hosts]
        self._mover = [vm for vm in topology.vms if vm.home == first][-1]
        self._source, self._destination = first, second

    @property
    def parts(self) -> list[Part]:
        """In the order in which they are to be shown."""
        vm, source, destination = self._mover.name, self._source, self._destination
        return [
            Part("before", "the VIFs before the move", self._before),
            Part("delivered", "a document to each VM, and its answer", self._delivered),
            Part("journeys", "the journey of a document on each hypervisor", self._journeys),
            Part("moved", f"{vm} moves from {source} to {destination}", self._moved),
            Part("journey_after", f"the journey of a document to {vm} on {destination}", self._journey_after),
            Part("after", "the VIFs after the move", self._after),
        ]

    def _before(self) -> Overview:
        return self._all_ready({vm.vif: vm.home for vm in self._handle.vms})

    def _after(self) -> Overview:
        return self._all_ready(
            {vm.vif: vm.home for vm in self._handle.vms} | {self._mover.vif: self._destination}
        )

    def _all_ready(self, hosts: dict[str, str]) -> Overview:
        attached = {host: self._handle.vifs(host) for host in self._handle.topology.hosts}
        overview = self._handle.status()
        if overview.missing:
            raise TourError(f"how the VIFs stand is not known: {'; '.join(overview.missing)}")
        rows = {row.vif: row for row in overview.rows}
        for vif, host in hosts.items():
            if (found := [one for one in attached if vif in attached[one]]) != [host]:
                where = ", ".join(found) or "no hypervisor"
                raise TourError(f"{vif} is to be attached at {host} and nowhere else, and is at {where}")
            state, by = overview.state(rows[vif]), rows[vif].host
            if (state, by) != (SessionState.READY, host):
                raise TourError(
                    f"{vif} is to be READY, held by {host}, and is {state}, held by {by or 'nobody'}"
                )
        return overview

    def _delivered(self) -> list[Delivered]:
        hosts = {vm.name: vm.home for vm in self._handle.vms}
        contents = {vm.name: journey.sample_document(vm) for vm in self._handle.vms}

        async def put(feed: Feed, vm: Vm) -> tuple[int, float]:
            began = time.monotonic()
            revision = await feed.put(vm.vif, DOCUMENT_KEY, contents[vm.name], CONTENT_TYPE)
            return await _acknowledged(feed, vm, DOCUMENT_KEY, revision, began)

        async def put_all(feed: Feed) -> list[tuple[int, float]]:
            return await asyncio.gather(*(put(feed, vm) for vm in self._handle.vms))

        done = lab_feed.ask(self._handle.topology, put_all).result()
        return [
            self._arrived(vm, hosts[vm.name], DOCUMENT_KEY, revision, contents[vm.name], after)
            for vm, (revision, after) in zip(self._handle.vms, done, strict=True)
        ]

    def _arrived(self, vm: Vm, host: str, key: str, revision: int, content: bytes, after: float) -> Delivered:
        """Once its answer is there too, and what the guest holds was compared."""
        report = self._handle.wait_report(vm.vif, key, revision).report
        if self._handle.read_in_guest(vm.name, key) != content:
            raise TourError(
                f"{vm.name} holds another content of {key!r} than revision {revision}, which was put"
            )
        digest = hashlib.sha256(content).hexdigest()
        said = json.loads(report.data)
        if (said["revision"], said["bytes"], said["sha256"]) != (revision, len(content), digest):
            raise TourError(
                f"{vm.name} answers {said}; put was revision {revision} of {key!r} with SHA-256 {digest}"
            )
        answer = f"{report.type}: {said['bytes']} bytes, SHA-256 {said['sha256'][:16]}"
        return Delivered(vm.name, host, key, revision, len(content), after, answer)

    def _journeys(self) -> list[Journey]:
        return journey.observe(self._handle, *(vm.name for vm in self._residents))

    def _moved(self) -> Moved:
        handle, vm, content = self._handle, self._mover, journey.sample_document(self._mover)
        before = handle.vifs(self._source)[vm.vif]
        guestd = handle.process(f"{vm.name}/guestd")
        with Move(handle, vm.name, self._destination) as move:
            move.leave()
            put_at = time.monotonic()
            revision = handle.put(vm.vif, _DURING_KEY, content, CONTENT_TYPE)
            delivery = handle.delivery(vm.vif, _DURING_KEY)
            if delivery is None or delivery.settled:
                raise TourError(
                    f"{vm.name} is to be without a link, and has acknowledged {_DURING_KEY!r} all the same"
                )
            move.note(
                f"{_DURING_KEY} revision {revision} put at the control plane; {vm.name} cannot have it yet"
            )
            after = move.arrive()

            async def acknowledged(feed: Feed) -> tuple[int, float]:
                return await _acknowledged(feed, vm, _DURING_KEY, revision, put_at)

            _, seconds = lab_feed.ask(handle.topology, acknowledged).result()
            during = self._arrived(vm, self._destination, _DURING_KEY, revision, content, seconds)
            move.note(f"{vm.name} has acknowledged {_DURING_KEY} revision {revision}, and answered")
        answers = handle.reports_about(vm.vif, _DURING_KEY, revision)
        if len(answers) != 1:
            raise TourError(
                f"{vm.name} is to have been given {_DURING_KEY!r} once, and answered it {len(answers)} times"
            )
        if handle.process(f"{vm.name}/guestd") != guestd:
            raise TourError(f"{vm.name}'s guestd is to run through the move, and was started anew")
        if after.mac != before.mac:
            raise TourError(f"{vm.name}'s MAC is to stay {before.mac}, and is {after.mac}")
        return Moved(
            *(vm.name, self._source, self._destination, before.lip, after.lip),
            *(tuple(move.steps), during),
        )

    def _journey_after(self) -> list[Journey]:
        return journey.observe(self._handle, self._mover.name)


async def _acknowledged(feed: Feed, vm: Vm, key: str, revision: int, put_at: float) -> tuple[int, float]:
    """The revision, and how long after `put_at` (time.monotonic) the control plane knew that the guest holds it."""
    try:
        async with asyncio.timeout(_WITHIN):
            delivery = await feed.settled(vm.vif, key, revision)
    except TimeoutError:
        raise LabTimeoutError(
            f"{vm.name} has not acknowledged {key!r} revision {revision} within {_WITHIN:g} s"
        ) from None
    _check_held(vm, delivery, revision)
    return revision, time.monotonic() - put_at


def _check_held(vm: Vm, delivery: Delivery, revision: int) -> None:
    if delivery.outcome is Outcome.REJECTED or delivery.acknowledged < revision:
        raise TourError(
            f"{vm.name} does not hold {delivery.document.key!r} revision {revision}: "
            f"{delivery.outcome} {delivery.error}"
        )
