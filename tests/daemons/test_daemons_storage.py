# SPDX-License-Identifier: Apache-2.0
"""Commits in groups: one fsync for many, and nobody pays for another's failure."""

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hvchannel_daemons.storage.commits import CommitWatch
from hvchannel_daemons.storage.database import Database, DatabaseError, connect


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "x.db", "CREATE TABLE t (n INTEGER PRIMARY KEY)", 1)
    yield opened
    opened.close()


async def count(database: Database) -> int:
    return await database.read(lambda c: int(c.execute("SELECT count(*) FROM t").fetchone()[0]))


async def test_writes_share_commits_and_failures_do_not_spread(database: Database) -> None:
    def insert(n: int):
        def work(c: sqlite3.Connection) -> int:
            c.execute("INSERT INTO t VALUES (?)", (n,))
            if n % 10 == 3:
                raise LookupError(n)
            return n

        return database.write(work)

    results = await asyncio.gather(*(insert(n) for n in range(50)), return_exceptions=True)
    failed = [n for n, result in enumerate(results) if isinstance(result, LookupError)]
    assert failed == [3, 13, 23, 33, 43]
    assert await count(database) == 45
    with pytest.raises(DatabaseError, match=r"x\.db: UNIQUE constraint"):
        await insert(1)


async def test_a_cancelled_write_harms_nobody(database: Database) -> None:
    cancelled = asyncio.ensure_future(database.write(lambda c: c.execute("INSERT INTO t VALUES (1)")))
    await asyncio.sleep(0)
    cancelled.cancel()
    await database.write(lambda c: c.execute("INSERT INTO t VALUES (2)"))
    assert await count(database) in (1, 2)


async def test_a_closed_or_foreign_database_is_named(database: Database, tmp_path: Path) -> None:
    database.close()
    with pytest.raises(DatabaseError, match=r"x\.db: closed"):
        await database.write(lambda c: None)
    with pytest.raises(DatabaseError, match="schema version 1 is not supported \\(supported: 2\\)"):
        Database(tmp_path / "x.db", "", 2)


async def test_a_full_disk_fails_the_write_and_later_writes_succeed(database: Database) -> None:
    await database.write(lambda c: c.execute("CREATE TABLE big (data BLOB)"))
    await database.write(lambda c: c.execute("PRAGMA max_page_count = 20").fetchone())
    with pytest.raises(DatabaseError, match="full"):
        await database.write(lambda c: c.execute("INSERT INTO big VALUES (zeroblob(1000000))"))
    await database.write(lambda c: c.execute("INSERT INTO t VALUES (1)"))
    assert await count(database) == 1


async def test_commits_of_others_are_noticed(database: Database) -> None:
    watch = CommitWatch(database, poll_seconds=0.01)
    turns = watch.turns()
    await anext(turns)
    other = connect(database.path)
    other.execute("INSERT INTO t VALUES (7)")
    async with asyncio.timeout(10):
        await anext(turns)
    assert await count(database) == 1
    other.close()
    watch.close()


@pytest.mark.parametrize(("durable", "synchronous"), [(True, 2), (False, 1), (True, 2)])
async def test_only_what_must_be_durable_waits_for_the_disk(
    database: Database, durable: bool, synchronous: int
) -> None:
    def level(c: sqlite3.Connection) -> int:
        return int(c.execute("PRAGMA synchronous").fetchone()[0])

    await database.write(level, durable=not durable)
    assert await database.write(level, durable=durable) == synchronous
    both = await asyncio.gather(database.write(level, durable=False), database.write(level, durable=True))
    assert set(both) <= {1, 2}
    assert both[1] == 2


async def test_commits_of_our_programs_are_noticed_without_polling(database: Database) -> None:
    watch = CommitWatch(database, poll_seconds=3600)
    turns = watch.turns()
    await anext(turns)
    other = Database(database.path, "", 1)
    theirs = CommitWatch(other, poll_seconds=3600)
    await other.write(lambda c: c.execute("INSERT INTO t VALUES (7)"))
    theirs.note()
    async with asyncio.timeout(10):
        await anext(turns)
    assert await count(database) == 1
    theirs.close()
    other.close()
    watch.close()
