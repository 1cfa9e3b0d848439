# SPDX-License-Identifier: Apache-2.0
"""guestd's durable store: documents by key, and the queue of reports. Everything a method has answered
survives kill -9 and loss of power (SQLite, WAL, synchronous=FULL; why SQLite: storage/database.py)."""

import enum
import fcntl
import os
import sqlite3
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hvchannel_daemons import limits
from hvchannel_daemons.guestd import damage, report_queue
from hvchannel_daemons.guestd import store_tables as tables
from hvchannel_daemons.guestd.report_queue import ReportQueueFull
from hvchannel_daemons.guestd.store_tables import Arrived, QueuedReport, Stored
from hvchannel_daemons.storage import pieces
from hvchannel_daemons.storage.database import DamagedError, Database, DatabaseError
from hvchannel_daemons.storage.turns import Turns

TOMBSTONES_KEPT: Final = limits.LIVE_DOCUMENTS
_LAST: Final = 2**63 - 1


class StoreInUse(Exception):  # noqa: N818 - a fact about the directory
    """Another guestd holds the state directory."""


class NotBound(Exception):  # noqa: N818 - an event of normal operation
    """The store has been bound anew since: what an old session still brings is void."""


class GroupRefused(Exception):  # noqa: N818 - the protocol's own word
    """A member breaks a rule; nothing of the group was stored."""


class Applied(enum.Enum):
    STORED = enum.auto()
    DUPLICATE = enum.auto()
    STALE = enum.auto()
    FULL = enum.auto()


@dataclass(frozen=True, slots=True)
class Application:
    """What came of an arrived document, and the revision held of its key now (0: none)."""

    applied: Applied
    held: int


@dataclass(frozen=True, slots=True)
class Binding:
    """For which VIF, in whose revisions, the store is filled; `number` is new with each session."""

    vif: str
    origin: str
    number: int
    discarded: int  # documents of another VIF that were dropped by this binding


class GuestStore:
    def __init__(self, directory: Path) -> None:
        """Opens or creates the store in `directory` (mode 0700). Raises StoreInUse, DatabaseError."""
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(directory / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DatabaseError(f"{directory}: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.set_aside = _without_damage(directory / "store.db")
            """What was wrong with the store that was there, which has been set aside; empty when nothing was."""
            self._database = Database(
                directory / "store.db", tables.SCHEMA, tables.VERSION, update=tables.bring_up_to_date
            )
        except BlockingIOError as error:
            os.close(self._lock)
            raise StoreInUse(f"{directory}: another guestd uses this state directory") from error
        except DatabaseError:
            os.close(self._lock)
            raise
        self.directory = directory
        self.reports = Turns()  # one was queued

    def on_damage(self, told: Callable[[DamagedError], None]) -> None:
        """`told` is called, from any thread, when the store turns out to be damaged: only a start sets it aside."""
        self._database.on_damage = told

    async def close(self) -> None:
        self._database.close()
        os.close(self._lock)

    def file_bytes(self) -> int:
        """Of the database and its journal."""
        return sum(path.stat().st_size for path in self.directory.glob("store.db*"))

    # the session's side

    async def bind(self, vif: str, origin: str) -> Binding:
        """Prepares for a session. A store that was filled for another VIF (a
        cloned disk) is emptied first."""

        def work(c: sqlite3.Connection) -> Binding:
            found = c.execute("SELECT vif, binding FROM identity").fetchone()
            discarded = 0
            if found["vif"] not in ("", vif):
                discarded = c.execute("SELECT count(*) FROM documents WHERE NOT deleted").fetchone()[0]
                # tombstones, so that a program that watches hears of it; of no origin, so that they hold
                # nothing up
                for row in c.execute("SELECT * FROM documents WHERE NOT deleted").fetchall():
                    _put(c, row["key"], "", row["revision"], "", b"", 0, None)
                c.execute("UPDATE documents SET origin = ''")
                c.execute("DELETE FROM reports")
            number = found["binding"] + 1
            c.execute("UPDATE identity SET vif = ?, origin = ?, binding = ?", (vif, origin, number))
            return Binding(vif, origin, number, discarded)

        return await self._database.write(work)

    async def apply(self, binding: Binding, documents: Sequence[Arrived]) -> list[Application]:
        """Stores the documents, in order, in one commit; durable and visible when it returns.

        Raises NotBound when a newer session has bound the store, DatabaseError when the disk does not take
        it: then nothing was stored.
        """

        def work(c: sqlite3.Connection) -> list[Application]:
            _check_bound(c, binding)
            return [_apply(c, binding, document) for document in documents]

        return await self._database.write(work)

    async def apply_group(self, binding: Binding, documents: Sequence[Arrived]) -> list[Application]:
        """As `apply`, but all or nothing. Raises GroupRefused."""

        def work(c: sqlite3.Connection) -> list[Application]:
            _check_bound(c, binding)
            results = [_apply(c, binding, document, grouped=True) for document in documents]
            for document, result in zip(documents, results, strict=True):
                if result.applied is Applied.FULL:
                    raise GroupRefused(f"member {document.key}: {full()}")
            return results

        return await self._database.write(work)

    async def sweep(self, binding: Binding) -> int:
        """Deletes documents of earlier origins; how many there were."""

        def work(c: sqlite3.Connection) -> int:
            _check_bound(c, binding)
            old = c.execute(
                "SELECT * FROM documents WHERE origin <> ? AND NOT deleted", (binding.origin,)
            ).fetchall()
            for row in old:
                _put(c, row["key"], row["origin"], row["revision"], "", b"", 0, None)
            return len(old)

        return await self._database.write(work)

    async def inventory(self, binding: Binding) -> list[tuple[str, int]]:
        """(key, revision) of the live documents of the binding's origin, by key."""
        query = "SELECT key, revision FROM documents WHERE origin = ? AND NOT deleted ORDER BY key"
        return await self._database.read(
            lambda c: [(row["key"], row["revision"]) for row in c.execute(query, (binding.origin,))]
        )

    async def queued_reports(self, *, after: int, limit: int) -> list[QueuedReport]:
        query = "SELECT * FROM reports WHERE sequence > ? ORDER BY sequence LIMIT ?"
        return await self._database.read(
            lambda c: [tables.queued_report(row) for row in c.execute(query, (after, limit))]
        )

    async def forget_reports(self, binding: Binding, up_to: int) -> None:
        """The hypervisor has these durably."""

        def work(c: sqlite3.Connection) -> None:
            _check_bound(c, binding)
            c.execute("DELETE FROM reports WHERE sequence <= ?", (up_to,))

        await self._database.write(work, durable=False)  # else they are sent again, to no effect

    # the local programs' side

    async def document(self, key: str) -> Stored | None:
        """The live document of that key."""

        def work(c: sqlite3.Connection) -> Stored | None:
            row = c.execute("SELECT * FROM documents WHERE key = ? AND NOT deleted", (key,)).fetchone()
            return None if row is None else tables.stored(row)

        return await self._database.read(work)

    async def newest(self, key: str) -> Stored | None:
        """The document or tombstone of that key."""

        def work(c: sqlite3.Connection) -> Stored | None:
            row = c.execute("SELECT * FROM documents WHERE key = ?", (key,)).fetchone()
            return None if row is None else tables.stored(row)

        return await self._database.read(work)

    async def documents(self, prefix: str, *, after_key: str, limit: int) -> list[Stored]:
        """Live documents under the prefix, by key, with a key greater than `after_key`."""
        query = """SELECT * FROM documents WHERE key > ? AND substr(key, 1, length(?)) = ? AND NOT deleted
                   ORDER BY key LIMIT ?"""
        return await self._database.read(
            lambda c: [tables.stored(row) for row in c.execute(query, (after_key, prefix, prefix, limit))]
        )

    async def changes(self, prefix: str, *, after: int, limit: int, until: int = _LAST) -> list[Stored]:
        """Documents and tombstones under the prefix with a position greater than `after` and at most `until`, in that
        order."""
        query = """SELECT * FROM documents WHERE position > ? AND position <= ? AND substr(key, 1, length(?)) = ?
                   ORDER BY position LIMIT ?"""

        def work(c: sqlite3.Connection) -> list[Stored]:
            return [tables.stored(row) for row in c.execute(query, (after, until, prefix, prefix, limit))]

        # all there is may be many; what is new is little
        return self._database.look(work) if after else await self._database.read(work)

    async def position(self) -> int:
        return self._database.look(lambda c: int(c.execute("SELECT position FROM identity").fetchone()[0]))

    async def piece(self, document: Stored, n: int) -> bytes:
        """The n-th piece of 256 KiB, from 0. Raises ContentGone when the document has been replaced."""
        content = document.content
        if content is None:
            raise pieces.ContentGone
        return await self._database.read(lambda c: pieces.read(c, content, n))

    async def queue_report(
        self,
        report_type: str,
        content_type: str,
        data: bytes,
        *,
        about_key: str = "",
        about_revision: int = 0,
        report_id: bytes = b"",
    ) -> int:
        """Returns the report's sequence once it is durable; when a report of the same id waits already, that one's.

        Raises ReportQueueFull; ValueError names a bad field.
        """
        limits.check_report(report_type, content_type, len(data), about_key)
        if report_id and len(report_id) != 16:
            raise ValueError(f"report id of {len(report_id)} bytes (valid: 16)")
        if about_revision > limits.REVISION_MAX:
            raise ValueError(f"revision {about_revision} is not valid (valid: 0 to {limits.REVISION_MAX})")

        report = QueuedReport(
            0,
            report_id or uuid.uuid4().bytes,
            report_type,
            content_type,
            data,
            time.time_ns(),
            about_key,
            about_revision,
        )
        sequence = await self._database.write(lambda c: report_queue.add(c, report))
        self.reports.note()
        return sequence

    # the hooks' side

    async def hooked(self) -> dict[str, int]:
        """By key of a document: the position of the last change whose hooks have finished."""
        return await self._database.read(
            lambda c: {row["key"]: row["position"] for row in c.execute("SELECT * FROM hooked")}
        )

    async def finish_hooks(self, change: Stored, report_type: str, report: bytes | None) -> bool:
        """The hooks of a change have finished: they never run again, and a JSON report says so, in one commit.

        False when the queue of reports is full: then nobody is told.
        """
        now = time.time_ns()
        about = (change.key, change.revision)

        def work(c: sqlite3.Connection) -> bool:
            if change.deleted:
                c.execute("DELETE FROM hooked WHERE key = ?", (change.key,))
            else:
                c.execute("REPLACE INTO hooked VALUES (?, ?)", (change.key, change.position))
            if report is None:
                return True
            try:
                report_queue.add(
                    c,
                    QueuedReport(0, uuid.uuid4().bytes, report_type, "application/json", report, now, *about),
                )
            except ReportQueueFull:
                return False
            return True

        told = await self._database.write(work)
        self.reports.note()
        return told

    async def counts(self) -> tuple[str, int, int]:
        """VIF id (empty before the first session), live documents, queued reports."""
        query = """SELECT vif, (SELECT count(*) FROM documents WHERE NOT deleted),
                   (SELECT count(*) FROM reports) FROM identity"""
        return await self._database.read(lambda c: tuple(c.execute(query).fetchone()))


def _without_damage(path: Path) -> str:
    """Raises DatabaseError."""
    try:
        return damage.set_aside(path)
    except (OSError, sqlite3.Error) as error:
        raise DatabaseError(f"{path}: {error}") from error


def full() -> str:
    return f"the guest holds {limits.LIVE_DOCUMENTS} documents already, which is the most"


def _check_bound(c: sqlite3.Connection, binding: Binding) -> None:
    if c.execute("SELECT binding FROM identity").fetchone()[0] != binding.number:
        raise NotBound(f"session {binding.number} of VIF {binding.vif} has been superseded")


def _apply(
    c: sqlite3.Connection, binding: Binding, document: Arrived, *, grouped: bool = False
) -> Application:
    row = c.execute(
        "SELECT origin, revision, deleted FROM documents WHERE key = ?", (document.key,)
    ).fetchone()
    if row is not None and row["origin"] == binding.origin:
        if row["revision"] == document.revision:
            return Application(Applied.DUPLICATE, row["revision"])
        if row["revision"] > document.revision:
            return Application(Applied.STALE, row["revision"])
    if document.content is not None and (row is None or row["deleted"]):
        live = c.execute("SELECT count(*) FROM documents WHERE NOT deleted").fetchone()[0]
        if live >= limits.LIVE_DOCUMENTS:
            return Application(Applied.FULL, 0)
    content = None if document.content is None else pieces.write(c, document.content)
    _put(
        c,
        document.key,
        binding.origin,
        document.revision,
        document.content_type,
        document.sha256,
        document.size,
        content,
        grouped=grouped,
    )
    if content is None:
        c.execute(
            """DELETE FROM documents WHERE deleted AND position <=
               (SELECT position FROM documents WHERE deleted ORDER BY position DESC LIMIT 1 OFFSET ?)""",
            (TOMBSTONES_KEPT,),
        )
    return Application(Applied.STORED, document.revision)


def _put(
    c: sqlite3.Connection,
    key: str,
    origin: str,
    revision: int,
    content_type: str,
    sha256: bytes,
    size: int,
    content: int | None,
    *,
    grouped: bool = False,
) -> None:
    old = c.execute("SELECT content FROM documents WHERE key = ?", (key,)).fetchone()
    position = c.execute("UPDATE identity SET position = position + 1 RETURNING position").fetchone()[0]
    c.execute(
        "REPLACE INTO documents VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            key,
            origin,
            revision,
            content_type,
            sha256,
            size,
            content is None,
            position,
            time.time_ns(),
            content,
            grouped,
        ),
    )
    if old is not None:
        pieces.drop(c, old["content"])
