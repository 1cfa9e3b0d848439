# SPDX-License-Identifier: Apache-2.0
"""What hostd and the command line need of a feed: the place where the control plane says what each VIF
shall have and reads what came of it.

An implementation keeps these promises (tests/daemons/test_feed.py runs the same suite over each):
  * `put` and `delete` give a key a revision greater than any it had and any its guest ever acknowledged,
    and return when that is durable;
  * of one key the newest revision is wanted; the HISTORY_REVISIONS newest are remembered, with their
    contents where those are of one piece;
  * a document is seen whole or not at all;
  * what `put_group` puts is seen as a whole or not at all;
  * nothing is put beyond a VIF's quota;
  * `position` orders all changes of a VIF's documents; `documents(after=)` misses none, and a VIF's `Claim` is
    told of each;
  * a VIF is held by one hypervisor at a time, and what it was told before is there for the next;
  * a report is stored once however often it is added, and reports of a VIF keep the order in which they
    were added.
"""

import asyncio
import enum
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from hvchannel_daemons.feed.groups import Member
from hvchannel_daemons.feed.quotas import Quota, Usage
from hvchannel_daemons.reasons import Reason

HISTORY_REVISIONS: Final = 16


class FeedError(Exception):
    """The feed does not work (unreachable, disk full, wrong version); one line that names it."""


class FeedAwayError(FeedError):
    """The feed cannot be reached now; it may be later."""


class FeedClaimedError(FeedError):
    """Another hostd serves this feed for the same hypervisor; a feed in a file, for any."""


class QuotaError(FeedError):
    """The put would exceed the VIF's quota; nothing was put. One line says what is used and what may be."""


@dataclass(frozen=True, slots=True)
class Document:
    """A revision of a key; the newest is what the VIF shall have."""

    vif: str
    key: str
    revision: int
    content_type: str
    sha256: bytes  # empty in a tombstone
    size: int  # bytes
    deleted: bool
    position: int  # in the order of all changes of the VIF's documents
    put_unix_ns: int
    content: int | str | None  # the implementation's handle for `piece`; None in a tombstone
    group: str = ""  # what it was put together with has the same; empty: it was put alone
    group_size: int = 0  # how many were put together


class Outcome(enum.StrEnum):
    """What a guest answered; the meanings are DocumentAck's in channel.proto."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    STALE = "stale"
    REJECTED = "rejected"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Ack:
    """A guest's answer to one document."""

    key: str
    revision: int  # the one it answers
    outcome: Outcome
    held: int  # the revision the guest holds of the key now; 0 when none
    error: str = ""


@dataclass(frozen=True, slots=True)
class Delivery:
    """How far a key has come: the document that is wanted, and what the guest said of it last."""

    document: Document
    acknowledged: int  # the revision the guest holds durably; 0 when none
    answered: int  # the revision of its last answer; 0 when none yet
    outcome: Outcome | None
    error: str

    @property
    def settled(self) -> bool:
        """The guest has given its final answer to this revision: holds it, or will not take it."""
        wanted = self.document.revision
        return self.acknowledged >= wanted or (self.answered == wanted and self.outcome is Outcome.REJECTED)


@dataclass(frozen=True, slots=True)
class Report:
    """What a local program of the VM told the control plane."""

    id: bytes  # 16 bytes: what "the same report" means
    sequence: int  # in the guest's store
    type: str
    content_type: str
    data: bytes
    time_unix_ns: int  # guest's clock
    about_key: str = ""
    about_revision: int = 0


@dataclass(frozen=True, slots=True)
class StoredReport:
    number: int  # order of arrival in the feed; strictly increasing
    stored_unix_ns: int  # hypervisor's clock
    report: Report


class SessionState(enum.StrEnum):
    """Where hostd stands with a VIF; docs/sessions.md says which state follows which.

    CONNECTING   announced by the controller; dialling its LIP for the first time
    NEGOTIATING  connected; versions and inventory are being exchanged
    SYNCING      delivering what the guest lacks
    READY        the guest has acknowledged all that was wanted when the session began; changes follow at once
    BACKOFF      the last attempt failed, or the session ended, for `reason`; attempts go on, about a second apart
    FLAPPING     sessions keep opening and closing, the last for `reason`; the next attempt waits longer
    CONTENDED    announced here too, but another hypervisor, which `reason` names, holds the VIF; it is taken over
                 as soon as that one lets it go or is gone
    """

    CONTENDED = "CONTENDED"
    CONNECTING = "CONNECTING"
    NEGOTIATING = "NEGOTIATING"
    SYNCING = "SYNCING"
    READY = "READY"
    BACKOFF = "BACKOFF"
    FLAPPING = "FLAPPING"


@dataclass(frozen=True, slots=True)
class Session:
    vif: str
    state: SessionState
    reason: str  # one line; why the state is what it is, empty when there is nothing to say
    since_unix_ns: int  # when this state began
    address: str = ""  # LIP:port
    version: int = 0  # of the channel's protocol; 0 before it is negotiated
    agent: str = ""  # the guest's program
    host: str = ""  # the hypervisor whose hostd wrote this
    code: Reason = Reason.NONE  # `reason` for programs
    error_code: Reason = Reason.NONE  # of the last error, which stays when all is well again
    error: str = ""
    error_unix_ns: int = 0  # when it happened; 0: there was none since the VIF was attached
    attempts: int = 0  # to connect, since the VIF was attached
    sessions: int = 0  # that came about, since then
    next_unix_ns: int = 0  # when the next attempt is due; 0 where none is waited for


@dataclass(frozen=True, slots=True)
class Owner:
    """The hypervisor that holds a VIF."""

    host: str
    alive: bool  # its hostd answers now; when not, what it wrote of its sessions is history


@dataclass(eq=False, slots=True)
class Claim:
    """A VIF that this hostd holds: until it releases it, or another hypervisor has taken it."""

    vif: str
    changed: asyncio.Event = field(
        default_factory=asyncio.Event
    )  # documents changed; whoever reads them clears it
    taken: asyncio.Future[str] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    """Resolves to the name of the hypervisor that has taken the VIF."""


Contended = Callable[[str], Awaitable[None]]
"""Told which hypervisor holds the VIF that is waited for."""


class Feed(Protocol):
    """Every method may raise FeedError; arguments that break a limit raise ValueError."""

    @property
    def origin(self) -> str:
        """Identity of the feed: revisions of different origins do not compare."""

    @property
    def away(self) -> str:
        """Why its engine cannot be reached now; empty when it can."""

    @property
    def reconnects(self) -> int:
        """How often its engine was away and came back."""

    # the control plane's side

    async def put(self, vif: str, key: str, content: bytes, content_type: str) -> int:
        """Makes `content` the newest revision of the key and returns the revision. Raises QuotaError."""

    async def put_group(self, vif: str, members: Sequence[Member]) -> dict[str, int]:
        """Puts and deletes several documents as one; the revision of each, by key. A deletion of what is not there is
        left out. Of each key the newest revision still wins: what a later `put` replaces leaves the group.
        Raises QuotaError, ValueError."""

    async def delete(self, vif: str, key: str) -> int | None:
        """Puts a tombstone and returns its revision; None when there is no such document."""

    async def quota(self, vif: str) -> Quota:
        """The default, unless another was set."""

    async def set_quota(self, vif: str, quota: Quota | None) -> None:
        """None: the default again. What the VIF has beyond it stays. Raises ValueError."""

    async def usage(self, vif: str) -> Usage: ...

    async def delivery(self, vif: str, key: str) -> Delivery | None: ...

    async def content(self, document: Document) -> bytes:
        """The whole content; empty for a tombstone.
        Raises ContentGone when newer revisions have replaced it and it is kept no longer."""

    async def history(self, vif: str, key: str) -> list[Document]:
        """The newest HISTORY_REVISIONS revisions of the key, tombstones too, newest first."""

    def watch(self, vif: str, *, after: int = 0) -> AsyncIterator[Delivery]:
        """Yields every delivery of the VIF whose document has a position greater than `after`, then each that
        changes (a document put or deleted, an answer of the guest), for ever. Of changes that follow each
        other quickly only the last may be seen."""

    async def deliveries(self, vif: str) -> list[Delivery]:
        """All keys of the VIF, tombstones too, by key."""

    async def settled(self, vif: str, key: str, revision: int) -> Delivery:
        """Waits until the guest holds `revision` or a newer one, or has rejected it. KeyError when there is
        no such key. Waits for ever: give it a time-out from outside."""

    async def reports(self, vif: str, *, after: int = 0, limit: int = 1000) -> list[StoredReport]:
        """Reports of the VIF with a number greater than `after`, oldest first."""

    async def last_reports(self) -> dict[str, StoredReport]:
        """The newest report of each VIF that has one; `data` is left empty."""

    async def sessions(self) -> dict[str, Session]:
        """Of each VIF the session at the hypervisor that holds it."""

    async def contenders(self) -> dict[str, list[Session]]:
        """Of each VIF the sessions at other hypervisors where it is announced too."""

    async def vifs(self) -> list[str]:
        """Every VIF the feed knows: with a document, a report or a session."""

    async def owners(self) -> dict[str, Owner]:
        """Who holds each VIF that somebody holds."""

    async def owner(self, vif: str) -> Owner | None: ...

    # hostd's side

    async def serve(self, host: str) -> set[str]:
        """Makes this process the hostd of hypervisor `host`, until it closes the feed or dies; the VIFs that an
        earlier one held and never released, whose sessions are dropped. From then on a feed that is away is waited
        for rather than an error: documents of VIFs that are held are handed out, acks and sessions written when it
        is back; the methods that need it meanwhile return later.
        Raises FeedClaimedError."""

    async def failed(self) -> None:
        """Waits until the feed can be served no longer, and raises why: FeedError."""

    async def claim(self, vif: str, contended: Contended) -> Claim:
        """Returns when this hostd holds the VIF, which `serve` must have preceded. While another hypervisor does,
        `contended` is told, perhaps more than once, and the VIF is waited for. May be cancelled; `release` then
        takes back whatever came of it."""

    async def release(self, vif: str) -> None:
        """The VIF is detached here: others may have it, and its session is dropped."""

    async def documents(self, vif: str, *, after: int, limit: int) -> list[Document]:
        """Documents and tombstones with a position greater than `after`, in that order. Those of one group follow each
        other."""

    async def piece(self, document: Document, n: int) -> bytes:
        """The n-th piece of 256 KiB, from 0.
        Raises ContentGone when a newer revision has replaced the document and it is kept no longer."""

    async def small(self, documents: Sequence[Document]) -> list[bytes | None]:
        """Contents of documents of one piece or none; None where newer revisions have replaced one and it is
        kept no longer."""

    async def position(self, vif: str) -> int:
        """Of the VIF's newest change; 0 when there was none yet."""

    async def record_inventory(self, vif: str, held: Mapping[str, int]) -> None:
        """The guest's own word on what it holds: replaces all acknowledged revisions of the VIF. Raises ValueError,
        having recorded nothing, when that cannot be (limits.check_held)."""

    async def record_acks(self, vif: str, acks: Sequence[Ack]) -> None: ...

    async def add_reports(self, vif: str, reports: Sequence[Report]) -> int:
        """Stores those that are new; how many were."""

    async def set_session(self, session: Session) -> None: ...

    async def drop_session(self, vif: str) -> None:
        """Nothing is to be said of it at this hypervisor any more."""

    async def close(self) -> None: ...
