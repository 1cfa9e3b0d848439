# SPDX-License-Identifier: Apache-2.0
"""Every VIF in one row: what the feed knows of its session and documents, what the controller knows of its port."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from hvchannel_control.api import control_pb2 as pb

from hvchannel_daemons.feed import Delivery, Feed, FeedError, Owner, Session, SessionState, StoredReport
from hvchannel_daemons.status.controller import Attached, Controller, ControllerAwayError

_FEED_SECONDS: Final = 10.0
_AT_ONCE: Final = 16  # VIFs whose documents are asked for

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Row:
    """One VIF. None where its source did not answer, or has nothing of it."""

    vif: str
    session: Session | None
    attached: pb.Vif | None
    deliveries: tuple[Delivery, ...]
    switch: pb.Status | None = None  # of the vSwitch where it is attached
    last_report: StoredReport | None = None
    owner: Owner | None = None  # the hypervisor that holds it
    contenders: tuple[str, ...] = ()  # other hypervisors where it is attached too

    @property
    def served(self) -> bool:
        """Whether a hostd that runs holds it: else what its session says is history."""
        return self.owner is not None and self.owner.alive

    @property
    def host(self) -> str:
        return self.owner.host if self.owner else ""

    @property
    def wanted(self) -> int:
        """Documents that the VM is to have."""
        return sum(not delivery.document.deleted for delivery in self.deliveries)

    @property
    def acknowledged(self) -> int:
        """Those of them whose newest revision the VM holds."""
        return sum(
            delivery.acknowledged >= delivery.document.revision and not delivery.document.deleted
            for delivery in self.deliveries
        )

    @property
    def pending(self) -> tuple[Delivery, ...]:
        """Documents and deletions to which the VM has given no final answer, oldest first."""
        waiting = [delivery for delivery in self.deliveries if not delivery.settled]
        return tuple(sorted(waiting, key=lambda delivery: delivery.document.put_unix_ns))

    @property
    def lag_seconds(self) -> float:
        """Since the oldest pending change was put; 0 when none is."""
        return max(0.0, time.time() - self.pending[0].document.put_unix_ns / 1e9) if self.pending else 0.0

    @property
    def errors(self) -> dict[str, str]:
        """What the VM said of documents that it did not take, by key."""
        return {delivery.document.key: delivery.error for delivery in self.deliveries if delivery.error}


@dataclass(frozen=True, slots=True)
class Overview:
    """All VIFs, by name. `missing`: one line for each source that did not answer."""

    rows: tuple[Row, ...]
    feed_answers: bool = True
    switches: dict[str, pb.Status] = field(default_factory=dict)  # by their controllers' sockets
    missing: tuple[str, ...] = ()

    def state(self, row: Row) -> str:
        """Of the row's session. Beside a SessionState: UNKNOWN, the feed does not answer, or the hostd that holds
        the VIF does not run; UNSERVED, the VIF is attached here and no hostd holds it; DETACHED."""
        if not self.feed_answers or (row.owner is not None and not row.owner.alive):
            return "UNKNOWN"
        if row.session is not None:
            return row.session.state.value
        return "UNSERVED" if row.attached is not None else "DETACHED"

    @property
    def well(self) -> bool:
        """Everything answered; every VIF is READY, or detached, and has all that it is to have."""
        good = (SessionState.READY.value, "DETACHED")
        return not self.missing and all(self.state(row) in good and not row.pending for row in self.rows)


@dataclass(frozen=True, slots=True)
class _FromFeed:
    sessions: dict[str, Session] = field(default_factory=dict)
    deliveries: dict[str, tuple[Delivery, ...]] = field(default_factory=dict)
    reports: dict[str, StoredReport] = field(default_factory=dict)
    owners: dict[str, Owner] = field(default_factory=dict)
    contenders: dict[str, list[Session]] = field(default_factory=dict)
    answers: bool = False


Open = Callable[[], Awaitable[Feed]]


async def look(
    open_feed: Open, sockets: Sequence[Path], *, vif: str | None = None, host: str | None = None
) -> Overview:
    """Asks all at once: the feed, and the controllers at `sockets`. `vif`, `host`: only that VIF, only those
    whose session is at that hypervisor. Raises ValueError for a feed that is named wrong."""
    missing: list[str] = []
    from_feed, answers = await asyncio.gather(_feed(open_feed, vif, missing), _controllers(sockets, missing))
    names = from_feed.sessions.keys() | from_feed.deliveries.keys()
    names |= {name for answer in answers.values() for name in answer.vifs}
    if vif is not None:
        names &= {vif}
    rows = [_row(name, from_feed, answers.values()) for name in sorted(names)]
    if host is not None:
        rows = [row for row in rows if row.host == host]
    return Overview(
        tuple(rows),
        from_feed.answers,
        {path: answer.status for path, answer in answers.items()},
        tuple(missing),
    )


def _row(name: str, from_feed: _FromFeed, answers: Iterable[Attached]) -> Row:
    session = from_feed.sessions.get(name)
    lip = session.address.rpartition(":")[0] if session is not None else ""
    # where it is attached twice, the one that its session dials
    places = [(answer.vifs[name], answer.status) for answer in answers if name in answer.vifs]
    attached, switch = max(places, key=lambda place: place[0].lip == lip, default=(None, None))
    return Row(
        name,
        session,
        attached,
        from_feed.deliveries.get(name, ()),
        switch,
        from_feed.reports.get(name),
        from_feed.owners.get(name),
        tuple(sorted(session.host for session in from_feed.contenders.get(name, ()))),
    )


async def _feed(open_feed: Open, vif: str | None, missing: list[str]) -> _FromFeed:
    try:
        async with asyncio.timeout(_FEED_SECONDS):
            feed = await open_feed()
            try:
                return await _ask(feed, vif)
            finally:
                await feed.close()
    except FeedError as error:
        missing.append(f"sessions and documents: {error}")
    except TimeoutError:
        missing.append(f"sessions and documents: the feed does not answer within {_FEED_SECONDS:g} s")
    return _FromFeed()


async def _ask(feed: Feed, vif: str | None) -> _FromFeed:
    names = await feed.vifs()
    if vif is not None:
        names = [name for name in names if name == vif]
    gate = asyncio.Semaphore(_AT_ONCE)

    async def deliveries(name: str) -> tuple[Delivery, ...]:
        async with gate:
            return tuple(await feed.deliveries(name))

    found = await asyncio.gather(*(deliveries(name) for name in names))
    return _FromFeed(
        await feed.sessions(),
        dict(zip(names, found, strict=True)),
        await feed.last_reports(),
        await feed.owners(),
        await feed.contenders(),
        answers=True,
    )


async def _controllers(sockets: Sequence[Path], missing: list[str]) -> dict[str, Attached]:
    if not sockets:
        missing.append("links, tables and leases: no controller named (--socket or HVCHANNEL_CONTROL)")
    answers = await asyncio.gather(
        *(Controller(socket).attached() for socket in sockets), return_exceptions=True
    )
    found: dict[str, Attached] = {}
    for socket, answer in zip(sockets, answers, strict=True):
        if isinstance(answer, ControllerAwayError):
            missing.append(f"links, tables and leases: {answer}")
        elif isinstance(answer, BaseException):
            raise answer
        else:
            found[str(socket)] = answer
    return found
