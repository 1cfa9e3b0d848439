# SPDX-License-Identifier: Apache-2.0
"""The embedded feed: one SQLite file that several processes use at once (the command line puts, hostd
delivers).

A process learns of its own commits, and of those of our other programs, at once; of anybody else's by polling
`PRAGMA data_version` every 50 ms, which reads shared memory only. Positions are given inside the writing transaction,
so their order is the order of commits and a reader that remembers the last one misses nothing.
"""

import asyncio
import dataclasses
import hashlib
import sqlite3
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from hvchannel_daemons import limits
from hvchannel_daemons.feed import sqlite_statements as statements
from hvchannel_daemons.feed import sqlite_tables as tables
from hvchannel_daemons.feed.groups import Member, check_group
from hvchannel_daemons.feed.interface import (
    Ack,
    Claim,
    Contended,
    Delivery,
    Document,
    FeedError,
    Owner,
    Report,
    Session,
    StoredReport,
)
from hvchannel_daemons.feed.quotas import Quota, Usage
from hvchannel_daemons.feed.sqlite_lock import ServerLock
from hvchannel_daemons.storage import pieces
from hvchannel_daemons.storage.commits import CommitWatch, bell_of
from hvchannel_daemons.storage.database import DamagedError, Database, DatabaseError, Work

T = TypeVar("T")

POLL_SECONDS: Final = 0.05


def _damaged(path: Path, error: object) -> str:
    """What was promised is in there alone: nobody but the operator may give it up."""
    return (
        f"feed {error}: put a copy of it back; or, to begin without any document, remove {path}* "
        "(what the VMs hold is then dropped)"
    )


class SqliteFeed:
    """`Feed` on an SQLite file."""

    def __init__(self, path: Path, database: Database, origin: str) -> None:
        """Use `open`."""
        self._database = database
        self._origin = origin
        self._commits = CommitWatch(database, poll_seconds=POLL_SECONDS)
        self._lock = ServerLock(path)
        self._host = ""
        self._claims: dict[str, Claim] = {}
        self._telling: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, where: str | Path, *, create: bool = True) -> "SqliteFeed":
        """Raises FeedError."""
        path = Path(where)
        if not create and not await asyncio.to_thread(path.exists):
            raise FeedError(f"feed {path}: there is no such file")

        def set_up(c: sqlite3.Connection) -> None:
            if bell_of(path).exists():
                raise DamagedError(f"{path}: it is empty, and was in use before")
            statements.new_feed(c)

        try:
            database = await asyncio.to_thread(Database, path, tables.SCHEMA, tables.VERSION, set_up=set_up)
            origin = await database.read(lambda c: str(_only(c, "SELECT origin FROM feed")))
            if not await database.read(statements.is_current):
                await database.write(statements.bring_up_to_date)
        except DamagedError as error:
            raise FeedError(_damaged(path, error)) from error
        except DatabaseError as error:
            raise FeedError(f"feed {error}") from error
        return cls(path, database, origin)

    @property
    def origin(self) -> str:
        return self._origin

    @property
    def away(self) -> str:
        return ""  # a file is always there, or its loss an error

    @property
    def reconnects(self) -> int:
        return 0

    async def put(self, vif: str, key: str, content: bytes, content_type: str) -> int:
        limits.check_vif(vif)
        limits.check_key(key)
        limits.check_content_type(content_type)
        limits.check_size(len(content))
        if len(content) <= limits.PIECE_BYTES:
            digest = hashlib.sha256(content).digest()
        else:
            digest = await asyncio.to_thread(lambda: hashlib.sha256(content).digest())

        def work(c: sqlite3.Connection) -> int:
            before = statements.usage(c, vif)
            stored = pieces.write(c, content)
            revision = statements.replace_document(c, vif, key, content_type, digest, len(content), stored)
            statements.check_room(c, vif, before)
            return revision

        return await self._write(work)

    async def put_group(self, vif: str, members: Sequence[Member]) -> dict[str, int]:
        check_group(vif, members)

        def digest(content: bytes | None) -> bytes:
            return b"" if content is None else hashlib.sha256(content).digest()

        digests = await asyncio.to_thread(lambda: [digest(member.content) for member in members])

        def work(c: sqlite3.Connection) -> dict[str, int]:
            before = statements.usage(c, vif)
            put = [
                (member, sha256)
                for member, sha256 in zip(members, digests, strict=True)
                if member.content is not None or _is_live(c, vif, member.key)
            ]
            group = (uuid.uuid4().hex, len(put)) if len(put) > 1 else ("", 0)
            revisions = {}
            for member, sha256 in put:
                content, kind = member.content, member.content_type
                stored = None if content is None else pieces.write(c, content)
                revisions[member.key] = statements.replace_document(
                    c, vif, member.key, kind, sha256, len(content or b""), stored, group=group
                )
            statements.check_room(c, vif, before)
            return revisions

        return await self._write(work)

    async def quota(self, vif: str) -> Quota:
        return await self._read(lambda c: statements.quota(c, vif))

    async def set_quota(self, vif: str, quota: Quota | None) -> None:
        limits.check_vif(vif)
        if quota is not None:
            quota.check()
        await self._write(lambda c: statements.set_quota(c, vif, quota))

    async def usage(self, vif: str) -> Usage:
        return await self._read(lambda c: statements.usage(c, vif))

    async def delete(self, vif: str, key: str) -> int | None:
        limits.check_vif(vif)
        limits.check_key(key)

        def work(c: sqlite3.Connection) -> int | None:
            if not _is_live(c, vif, key):
                return None
            return statements.replace_document(c, vif, key, "", b"", 0, None)

        return await self._write(work)

    async def delivery(self, vif: str, key: str) -> Delivery | None:
        def work(c: sqlite3.Connection) -> Delivery | None:
            row = c.execute(f"{tables.DELIVERY} WHERE d.vif = ? AND d.key = ?", (vif, key)).fetchone()
            return None if row is None else tables.delivery(row)

        return self._look(work)

    async def content(self, document: Document) -> bytes:
        count = -(-document.size // limits.PIECE_BYTES)
        return b"".join([await self.piece(document, n) for n in range(count)])

    async def history(self, vif: str, key: str) -> list[Document]:
        query = """SELECT * FROM documents WHERE vif = :vif AND key = :key
                   UNION ALL SELECT * FROM history WHERE vif = :vif AND key = :key ORDER BY revision DESC"""
        return await self._read(
            lambda c: [tables.document(row) for row in c.execute(query, {"vif": vif, "key": key})]
        )

    async def watch(self, vif: str, *, after: int = 0) -> AsyncIterator[Delivery]:
        limits.check_vif(vif)
        shown: dict[str, Delivery] = {}
        first = True
        async for _ in self._turns():
            for delivery in await self.deliveries(vif):
                key = delivery.document.key
                if shown.get(key) != delivery:
                    known = first and delivery.document.position <= after
                    shown[key] = delivery
                    if not known:
                        yield delivery
            first = False

    async def deliveries(self, vif: str) -> list[Delivery]:
        query = f"{tables.DELIVERY} WHERE d.vif = ? ORDER BY d.key"
        return await self._read(lambda c: [tables.delivery(row) for row in c.execute(query, (vif,))])

    async def settled(self, vif: str, key: str, revision: int) -> Delivery:
        async for _ in self._turns():
            delivery = await self.delivery(vif, key)
            if delivery is None:
                raise KeyError(key)
            if delivery.acknowledged >= revision or (
                delivery.settled and delivery.document.revision == revision
            ):
                return delivery
        raise AssertionError("_turns never ends")

    async def reports(self, vif: str, *, after: int = 0, limit: int = 1000) -> list[StoredReport]:
        query = "SELECT * FROM reports WHERE vif = ? AND number > ? ORDER BY number LIMIT ?"
        return await self._read(
            lambda c: [tables.stored_report(r) for r in c.execute(query, (vif, after, limit))]
        )

    async def last_reports(self) -> dict[str, StoredReport]:
        query = """SELECT number, vif, id, sequence, type, content_type, x'' AS data, time_unix_ns, about_key,
                   about_revision, stored_unix_ns FROM reports
                   WHERE number IN (SELECT max(number) FROM reports GROUP BY vif)"""
        return await self._read(lambda c: {row["vif"]: tables.stored_report(row) for row in c.execute(query)})

    async def sessions(self) -> dict[str, Session]:
        return await self._read(
            lambda c: {r["vif"]: tables.session(r) for r in c.execute("SELECT * FROM sessions")}
        )

    async def vifs(self) -> list[str]:
        query = """SELECT vif FROM documents UNION SELECT vif FROM reports UNION SELECT vif FROM sessions
                   ORDER BY vif"""
        return await self._read(lambda c: [row[0] for row in c.execute(query)])

    async def contenders(self) -> dict[str, list[Session]]:
        """None: a file is one hypervisor's."""
        return {}

    async def owners(self) -> dict[str, Owner]:
        alive = await self._lock.is_held()
        rows = await self._read(lambda c: c.execute("SELECT vif, host FROM owners").fetchall())
        return {row["vif"]: Owner(row["host"], alive) for row in rows}

    async def owner(self, vif: str) -> Owner | None:
        return (await self.owners()).get(vif)

    async def serve(self, host: str) -> set[str]:
        limits.check_host(host)
        self._lock.take()
        self._host = host
        try:
            said = await self._database.read(lambda c: str(_only(c, "PRAGMA quick_check(1)")))
        except DatabaseError as error:
            raise FeedError(_damaged(self._database.path, error)) from error
        if said != "ok":
            raise FeedError(_damaged(self._database.path, f"{self._database.path}: {' '.join(said.split())}"))

        def work(c: sqlite3.Connection) -> int:
            c.execute("DELETE FROM sessions")
            c.execute("DELETE FROM owners")
            return int(_only(c, "SELECT position FROM feed"))

        self._telling = asyncio.create_task(self._tell(await self._write(work)))
        return set()

    async def failed(self) -> None:
        assert self._telling is not None, "serve first"
        await asyncio.shield(self._telling)

    async def claim(self, vif: str, contended: Contended) -> Claim:
        limits.check_vif(vif)
        claim = self._claims[vif] = Claim(vif)
        await self._write(lambda c: c.execute("REPLACE INTO owners VALUES (?, ?)", (vif, self._host)))
        return claim

    async def release(self, vif: str) -> None:
        self._claims.pop(vif, None)
        await self._write(lambda c: c.execute("DELETE FROM owners WHERE vif = ?", (vif,)))
        await self.drop_session(vif)

    async def documents(self, vif: str, *, after: int, limit: int) -> list[Document]:
        query = "SELECT * FROM documents WHERE vif = ? AND position > ? ORDER BY position LIMIT ?"
        return self._look(lambda c: [tables.document(row) for row in c.execute(query, (vif, after, limit))])

    async def piece(self, document: Document, n: int) -> bytes:
        content = document.content
        if not isinstance(content, int):
            raise pieces.ContentGone
        return await self._read(lambda c: pieces.read(c, content, n))

    async def small(self, documents: Sequence[Document]) -> list[bytes | None]:
        def work(c: sqlite3.Connection) -> list[bytes | None]:
            return [_small(c, document) for document in documents]

        if sum(document.size for document in documents) <= limits.PIECE_BYTES:
            return self._look(work)
        return await self._read(work)

    async def position(self, vif: str) -> int:
        query = "SELECT coalesce(max(position), 0) FROM documents WHERE vif = ?"
        return self._look(lambda c: int(_only(c, query, vif)))

    async def record_inventory(self, vif: str, held: Mapping[str, int]) -> None:
        def work(c: sqlite3.Connection) -> None:
            for row in c.execute(f"{tables.DELIVERY} WHERE d.vif = ?", (vif,)).fetchall():
                # a guest does not list tombstones: lacking the key is what the tombstone wants
                absent = row["revision"] if row["deleted"] else 0
                now = limits.check_held(row["key"], held.get(row["key"], absent), row["revision"])
                if now != row["acknowledged"]:
                    statements.hold(c, vif, row["key"], now)

        await self._write(work, durable=False)  # the next inventory says it again

    async def record_acks(self, vif: str, acks: Sequence[Ack]) -> None:
        def work(c: sqlite3.Connection) -> None:
            for ack in acks:
                statements.answer(c, vif, ack)

        await self._write(work, durable=False)  # the next inventory says it again

    async def add_reports(self, vif: str, reports: Sequence[Report]) -> int:
        def work(c: sqlite3.Connection) -> int:
            added = sum(statements.add_report(c, vif, report) for report in reports)
            if added:
                statements.make_room(c, vif)
            return added

        return await self._write(work)

    async def set_session(self, session: Session) -> None:
        values = dataclasses.asdict(session)
        columns, marks = ", ".join(values), ", ".join(f":{name}" for name in values)
        statement = f"REPLACE INTO sessions ({columns}) VALUES ({marks})"  # noqa: S608 - names of fields
        await self._write(lambda c: c.execute(statement, values), durable=False)

    async def drop_session(self, vif: str) -> None:
        await self._write(lambda c: c.execute("DELETE FROM sessions WHERE vif = ?", (vif,)), durable=False)

    async def close(self) -> None:
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.gather(self._telling, return_exceptions=True)
        self._commits.close()
        await asyncio.to_thread(self._database.close)
        self._lock.release()

    async def _tell(self, after: int) -> None:
        """Tells claims of changes beyond the position. Raises FeedError."""

        def work(c: sqlite3.Connection) -> dict[str, int]:
            query = "SELECT vif, max(position) FROM documents WHERE position > ? GROUP BY vif"
            return {row[0]: row[1] for row in c.execute(query, (after,))}

        async for _ in self._turns():
            changed = self._look(work)
            after = max(changed.values(), default=after)
            for vif in changed.keys() & self._claims.keys():
                self._claims[vif].changed.set()

    async def _read(self, work: Work[T]) -> T:
        try:
            return await self._database.read(work)
        except DatabaseError as error:
            raise FeedError(f"feed {error}") from error

    def _look(self, work: Work[T]) -> T:
        try:
            return self._database.look(work)
        except DatabaseError as error:
            raise FeedError(f"feed {error}") from error

    async def _write(self, work: Work[T], *, durable: bool = True) -> T:
        try:
            result = await self._database.write(work, durable=durable)
        except DatabaseError as error:
            raise FeedError(f"feed {error}") from error
        self._commits.note()
        return result

    async def _turns(self) -> AsyncIterator[None]:
        try:
            async for _ in self._commits.turns():
                yield
        except DatabaseError as error:
            raise FeedError(f"feed {error}") from error


def _only(c: sqlite3.Connection, query: str, *values: str) -> Any:
    """The one value that a query always gives, unless the file is damaged. Raises sqlite3.DatabaseError."""
    row = c.execute(query, values).fetchone()
    if row is None or row[0] is None:
        raise sqlite3.DatabaseError(f"malformed: nothing comes of {query}")
    return row[0]


def _small(c: sqlite3.Connection, document: Document) -> bytes | None:
    if document.size == 0 or not isinstance(document.content, int):
        return b""
    try:
        return pieces.read(c, document.content, 0)
    except pieces.ContentGone:
        return None


def _is_live(c: sqlite3.Connection, vif: str, key: str) -> bool:
    query = "SELECT 1 FROM documents WHERE vif = ? AND key = ? AND NOT deleted"
    return c.execute(query, (vif, key)).fetchone() is not None
