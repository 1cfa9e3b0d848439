# SPDX-License-Identifier: Apache-2.0
"""Follows libvirt, for what calls no hook: interfaces that are plugged and unplugged while a domain runs, and whatever
a hook could not do because no controller answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog

from hvchannel_control.libvirt import port_interface
from hvchannel_control.libvirt.attaching import Attaching, AttachingError
from hvchannel_control.libvirt.domain import Domain, DomainError, parse
from hvchannel_control.libvirt.owners import Owner, Owners
from hvchannel_control.libvirt.virsh import Virsh, VirshError

AGAIN_S = 3.0
"""Seconds until what failed is tried again."""
_SETTLE_S = 0.1  # libvirt tells of one change in several events

log = structlog.get_logger()


class Watch:
    """Keeps the controller's VIFs equal to what the running domains have."""

    def __init__(self, virsh: Virsh, attaching: Attaching, owners: Owners, every: float) -> None:
        """`every`: seconds between two looks at all domains when nothing is told of."""
        self._virsh = virsh
        self._attaching = attaching
        self._owners = owners
        self._every = every
        self._problems: list[str] = []

    async def run(self) -> None:
        """Does not end. libvirt and the controller may come and go."""
        while True:
            changed = asyncio.Event()
            try:
                async with self._listening(changed):
                    while True:
                        changed.clear()
                        self._note(await self.look())
                        with suppress(TimeoutError):
                            async with asyncio.timeout(AGAIN_S if self._problems else self._every):
                                await changed.wait()
                        await asyncio.sleep(_SETTLE_S)
            except* VirshError as errors:
                self._note([str(error) for error in errors.exceptions])
            await asyncio.sleep(AGAIN_S)

    async def look(self) -> list[str]:
        """One look at all domains; what could not be done. Raises VirshError."""
        # first what was attached, then who runs: what is attached meanwhile is nobody's who has gone
        attached = await asyncio.to_thread(self._owners.all)
        active = await self._virsh.active()
        texts = await self._virsh.xml(active)
        gone = {vif_id: owner for vif_id, owner in attached.items() if owner.uuid not in active}
        problems: list[str] = []
        domains = []
        for text in texts:
            try:
                domains.append(parse(text))
            except DomainError as error:
                problems.append(str(error))
        return problems + await asyncio.to_thread(self._bring_about, domains, gone)

    def _bring_about(self, domains: list[Domain], gone: dict[str, Owner]) -> list[str]:
        problems = []
        for domain in domains:
            try:
                self._attaching.sync(domain)
            except (AttachingError, OSError) as error:
                problems += [f"domain {domain.name!r}: {line}" for line in str(error).splitlines()]
        try:
            self._attaching.detach_gone(gone)
        except (AttachingError, OSError) as error:
            problems += str(error).splitlines()
        return problems + self._set_ports_apart(domains)

    def _set_ports_apart(self, domains: list[Domain]) -> list[str]:
        problems = []
        for interface in sorted({vif.interface for domain in domains for vif in domain.plugged}):
            try:
                port_interface.set_apart(interface)
            except FileNotFoundError:  # unplugged since, or a domain that is about to have it
                continue
            except OSError as error:
                problems.append(f"interface {interface}: {error.strerror}")
        return problems

    def _note(self, problems: list[str]) -> None:
        """Each is logged once, when it comes up and when all are over."""
        for problem in problems:
            if problem not in self._problems:
                log.error("not_done", why=problem)
        if self._problems and not problems:
            log.info("all_done")
        self._problems = problems

    @asynccontextmanager
    async def _listening(self, changed: asyncio.Event) -> AsyncIterator[None]:
        """`changed` is set whenever something may have; VirshError, in a group, ends the block."""

        async def listen() -> None:
            async for _ in self._virsh.changes():
                changed.set()

        async with asyncio.TaskGroup() as group:
            task = group.create_task(listen())
            try:
                yield
            finally:
                task.cancel()
