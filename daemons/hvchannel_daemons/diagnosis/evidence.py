# SPDX-License-Identifier: Apache-2.0
"""What can be known of a VIF's channel from its hypervisor: the feed's words, the controller's, a probe's fate; and the
guest controller's where its socket can be reached."""

import asyncio
import contextlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from hvchannel_control.api import control_pb2 as pb
from hvchannel_telemetry.client import ProcessClient, ProcessError

from hvchannel_daemons.feed import Feed, FeedError, Owner, Session
from hvchannel_daemons.status.controller import Controller, ControllerAwayError, NotAttachedError
from hvchannel_daemons.status.overview import Open

_FEED_SECONDS: Final = 10.0
_HOSTD_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class FromFeed:
    error: str = ""  # why the feed does not answer; then nothing else is known
    owner: Owner | None = None
    session: Session | None = None
    contenders: tuple[str, ...] = ()  # other hypervisors where the VIF is attached
    documents: int = 0
    pending: int = 0


@dataclass(frozen=True, slots=True)
class FromHostd:
    """Of hostd itself."""

    error: str = ""  # why it does not answer
    unwell: dict[str, str] = field(default_factory=dict)  # parts that do not serve, and why


@dataclass(frozen=True, slots=True)
class FromController:
    """Of the host's vSwitch."""

    error: str = ""  # why the controller does not answer; then nothing else is known
    attached: bool = False
    inspection: pb.Inspection = field(default_factory=pb.Inspection)
    probe: pb.ProbeResult = field(default_factory=pb.ProbeResult)


@dataclass(frozen=True, slots=True)
class FromGuest:
    """Of the guest's vSwitch, before and after the probe."""

    error: str = ""
    before: pb.Inspection = field(default_factory=pb.Inspection)
    after: pb.Inspection = field(default_factory=pb.Inspection)

    def rise(self, table: str, *, shared: bool) -> int:
        """Packets that hit the guest's entry of that table during the probe: the one that it shares with the
        hypervisor's end, or its own."""
        was, now = (
            sum(
                entry.count.packets
                for entry in inspection.entries
                if (entry.table, entry.shared) == (table, shared)
            )
            for inspection in (self.before, self.after)
        )
        return now - was


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that was found. `hostd`, `controller`, `guest` None: nobody to ask was named."""

    vif: str
    host: str  # this hypervisor
    feed_at: str
    feed: FromFeed
    hostd: FromHostd | None
    socket: Path | None  # of that controller
    controller: FromController | None
    guest: FromGuest | None


@dataclass(frozen=True, slots=True)
class Where:
    """Whom to ask."""

    open_feed: Open
    feed_at: str
    host: str
    hostd_socket: Path | None
    sockets: tuple[Path, ...]  # of the controllers, of which one has the VIF
    guest_socket: Path | None


async def gather(where: Where, vif: str) -> Evidence:
    """Takes some seconds where nothing answers. Raises ValueError for a feed that is named wrong."""
    feed, hostd = await asyncio.gather(_feed(where, vif), _hostd(where.hostd_socket))
    socket = await _attached_at(where.sockets, vif)
    controller, guest = await _switches(where, socket, vif, _port(feed.session))
    if not feed.error:
        feed = await _feed(where, vif)  # as it is after the probe, which took its time
    return Evidence(vif, where.host, where.feed_at, feed, hostd, socket, controller, guest)


def _port(session: Session | None) -> int:
    """The TCP port of guestd that hostd dials; 0: the usual one."""
    return int(session.address.rpartition(":")[2] or 0) if session is not None else 0


async def _hostd(socket: Path | None) -> FromHostd | None:
    def ask(at: Path) -> FromHostd:
        try:
            with ProcessClient(at, _HOSTD_SECONDS) as client:
                return FromHostd(unwell={part: why for part, why in client.health().items() if why})
        except ProcessError as error:
            return FromHostd(error=str(error))

    return None if socket is None else await asyncio.to_thread(ask, socket)


async def _feed(where: Where, vif: str) -> FromFeed:
    try:
        async with asyncio.timeout(_FEED_SECONDS):
            feed = await where.open_feed()
            try:
                return await _of_vif(feed, vif)
            finally:
                await feed.close()
    except FeedError as error:
        return FromFeed(error=str(error))
    except TimeoutError:
        return FromFeed(error=f"no answer within {_FEED_SECONDS:g} s")


async def _of_vif(feed: Feed, vif: str) -> FromFeed:
    deliveries = await feed.deliveries(vif)
    others = (await feed.contenders()).get(vif, ())
    return FromFeed(
        owner=await feed.owner(vif),
        session=(await feed.sessions()).get(vif),
        contenders=tuple(sorted(session.host for session in others)),
        documents=sum(not delivery.document.deleted for delivery in deliveries),
        pending=sum(not delivery.settled for delivery in deliveries),
    )


async def _attached_at(sockets: tuple[Path, ...], vif: str) -> Path | None:
    """The controller that has the VIF; the first when none has."""
    for socket in sockets[1:]:
        with contextlib.suppress(ControllerAwayError):
            if vif in (await Controller(socket).attached()).vifs:
                return socket
    return sockets[0] if sockets else None


async def _switches(
    where: Where, socket: Path | None, vif: str, tcp_port: int
) -> tuple[FromController | None, FromGuest | None]:
    guest = None if where.guest_socket is None else await _guest(Controller(where.guest_socket), vif)
    if socket is None:
        return None, guest
    controller = Controller(socket)
    try:
        inspection = await controller.inspect(vif)
        probe = await controller.probe(vif, tcp_port) if not inspection.error else pb.ProbeResult()
    except NotAttachedError:
        return FromController(), guest
    except ControllerAwayError as error:
        return FromController(error=str(error)), guest
    if guest is not None and not guest.error and where.guest_socket is not None:
        after = await _guest(Controller(where.guest_socket), vif)
        guest = replace(guest, after=after.before, error=after.error)
    return FromController(attached=True, inspection=inspection, probe=probe), guest


async def _guest(controller: Controller, vif: str) -> FromGuest:
    try:
        own = await controller.attached()
        (name,) = own.vifs or (vif,)  # a guest has one, by whatever name
        inspection = await controller.inspect(name)
    except (ControllerAwayError, NotAttachedError) as error:
        return FromGuest(error=str(error))
    return FromGuest(before=inspection, after=inspection)
