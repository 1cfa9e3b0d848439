# SPDX-License-Identifier: Apache-2.0
"""What a small document costs on its way: how often threads wake and the feed is read, counted rather than timed."""

import asyncio
import contextlib
import hashlib
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hvchannel_daemons.channel import channel_pb2 as pb
from hvchannel_daemons.feed.sqlite import SqliteFeed
from hvchannel_daemons.guestd.file_access import Access
from hvchannel_daemons.guestd.file_tree import Change, FileTree
from hvchannel_daemons.guestd.files import Files
from hvchannel_daemons.guestd.store import GuestStore
from hvchannel_daemons.guestd.store_tables import Arrived
from hvchannel_daemons.hostd.outbox import Outbox
from hvchannel_daemons.hostd.sending import Sender
from hvchannel_daemons.storage.commits import CommitWatch
from hvchannel_daemons.storage.database import Database, DatabaseError, connect
from hvchannel_daemons.storage.modified import Modified


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "x.db", "CREATE TABLE t (n INTEGER PRIMARY KEY)", 1)
    yield opened
    opened.close()


def insert(c: sqlite3.Connection, n: int) -> int:
    c.execute("INSERT INTO t VALUES (?)", (n,))
    return threading.get_ident()


async def count(database: Database) -> int:
    return await database.read(lambda c: int(c.execute("SELECT count(*) FROM t").fetchone()[0]))


async def some_rounds_of_the_loop() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_write_that_need_not_wait_for_the_disk_is_done_where_it_is_asked_for(
    database: Database,
) -> None:
    assert await database.write(lambda c: insert(c, 1), durable=False) == threading.get_ident()
    assert await database.write(lambda c: insert(c, 2)) != threading.get_ident()
    assert await count(database) == 2


async def test_a_write_that_fails_there_takes_back_all_of_itself(database: Database) -> None:
    def failing(c: sqlite3.Connection) -> None:
        insert(c, 1)
        raise LookupError("no")

    with pytest.raises(LookupError):
        await database.write(failing, durable=False)
    with pytest.raises(DatabaseError, match=r"x\.db: UNIQUE constraint"):
        await database.write(lambda c: [insert(c, 2), insert(c, 2)], durable=False)
    assert await count(database) == 0
    await database.write(lambda c: insert(c, 3), durable=False)
    assert await count(database) == 1


async def test_the_event_loop_waits_for_no_other_process(database: Database) -> None:
    other = connect(database.path)
    other.execute("BEGIN IMMEDIATE")
    other.execute("INSERT INTO t VALUES (1)")
    writing = [
        asyncio.ensure_future(database.write(lambda c, n=n: insert(c, n), durable=durable))
        for n, durable in ((2, False), (3, True))
    ]
    await some_rounds_of_the_loop()  # which it could not do if it waited
    assert not any(write.done() for write in writing)
    other.execute("COMMIT")
    async with asyncio.timeout(60):
        assert threading.get_ident() not in await asyncio.gather(*writing)
    assert await count(database) == 3
    other.close()


async def test_writes_keep_the_order_in_which_they_are_asked_for(database: Database) -> None:
    order: list[int] = []
    await asyncio.gather(
        *(
            database.write(lambda c, n=n: order.append(n), durable=durable)
            for n, durable in enumerate((True, False, True, False))
        )
    )
    assert order == [0, 1, 2, 3]


async def test_the_log_stays_bounded_when_no_write_waits_for_the_disk(database: Database) -> None:
    for n in range(1, 3000):
        await database.write(lambda c, n=n: c.execute("INSERT INTO t VALUES (?)", (n,)), durable=False)
    log = database.path.with_name("x.db-wal").stat().st_size
    assert log < 2 * 1000 * 4120, "SQLite moves a log of 1,000 pages into the file"


async def test_our_own_commit_wakes_us_once(database: Database) -> None:
    watch = CommitWatch(database, poll_seconds=3600)
    turns = watch.turns()
    await anext(turns)
    rung = asyncio.Event()
    bell = Modified(database.path.with_name("x.db-commits"), rung.set)
    await database.write(lambda c: insert(c, 1))
    watch.note()
    await anext(turns)
    async with asyncio.timeout(60):
        await rung.wait()
    again = asyncio.ensure_future(anext(turns))
    await some_rounds_of_the_loop()
    assert not again.done()
    bell.close()
    watch.close()
    with pytest.raises(DatabaseError, match=r"x\.db: closed"):
        await again


# --- hostd


@pytest.fixture
async def feed(tmp_path: Path) -> AsyncIterator[SqliteFeed]:
    opened = await SqliteFeed.open(tmp_path / "feed.db")
    yield opened
    await opened.close()


@pytest.mark.parametrize(("documents", "reads"), [(0, 1), (1, 1), (63, 1), (64, 2), (65, 2)])
async def test_what_is_new_is_read_once(
    feed: SqliteFeed, documents: int, reads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    original = feed.documents

    async def counting(vif: str, *, after: int, limit: int):
        asked.append(after)
        return await original(vif, after=after, limit=limit)

    monkeypatch.setattr(feed, "documents", counting)
    sent: list[str] = []

    async def send(message: pb.HostMessage) -> None:
        sent.append(message.begin.key)

    await asyncio.gather(*(feed.put("vm1", f"k{n}", b"x", "") for n in range(documents)))
    outbox = Outbox(asyncio.Event(), {}, await feed.position("vm1"))
    await Sender(send, feed, "vm1", outbox, groups=True).send_what_is_new()
    assert sorted(sent) == sorted(f"k{n}" for n in range(documents))
    assert len(asked) == reads


# --- guestd


async def test_who_sends_reports_hears_nothing_of_documents(tmp_path: Path) -> None:
    store = GuestStore(tmp_path / "store")
    files = Files(store, FileTree(tmp_path / "files", Access()))
    binding = await store.bind("vm1", "o")
    await files.publish()
    reports, published = store.reports(), files.published()
    for turns in (reports, published):
        await anext(turns)
    report, document = asyncio.ensure_future(anext(reports)), asyncio.ensure_future(anext(published))
    await store.apply(
        binding, [Arrived("k", 1, "text/plain", hashlib.sha256(b"x").digest(), 1, content=b"x")]
    )
    await some_rounds_of_the_loop()
    assert not document.done(), "nobody is told before the file is there"
    await files.publish()
    await document
    await some_rounds_of_the_loop()
    assert not report.done()
    await store.queue_report("t", "text/plain", b"")
    await report
    for turns in (reports, published):
        with contextlib.suppress(RuntimeError):
            await turns.aclose()  # type: ignore[attr-defined]
    await files.close()
    await store.close()


async def test_a_replaced_file_is_freed_by_another_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where that waits for the disk, who acknowledges documents would wait, too."""
    tree = FileTree(tmp_path / "files", Access())
    documents = [Arrived("k", n, "text/plain", hashlib.sha256(b"x").digest(), 1, b"x") for n in (1, 2)]
    tree.apply([Change("k", tree.stage(documents[0], [b"x"]))], together=False)
    old = (tmp_path / "files/k").stat().st_ino
    freed: list[tuple[int, int]] = []
    original = os.close

    def close(descriptor: int) -> None:
        freed.append((os.fstat(descriptor).st_ino, threading.get_ident()))
        original(descriptor)

    staged = tree.stage(documents[1], [b"x"])
    with monkeypatch.context() as patched:
        patched.setattr(os, "close", close)
        tree.apply([Change("k", staged)], together=False)
        tree.pool().shutdown(wait=True)
    assert [thread == threading.get_ident() for inode, thread in freed if inode == old] == [False]
    tree.close()


async def test_a_small_document_is_stored_by_one_thread_beside_the_loop(tmp_path: Path) -> None:
    store = GuestStore(tmp_path / "store")
    tree = FileTree(tmp_path / "files", Access())
    files = Files(store, tree)
    binding = await store.bind("vm1", "o")
    await files.publish()
    small = Arrived("k", 1, "text/plain", hashlib.sha256(b"x").digest(), 1, b"x")
    assert files.staged_at_once([small])
    await store.apply(binding, [small])
    await files.publish()
    assert (tmp_path / "files/k").read_bytes() == b"x"
    assert not tree.pool()._threads, "no thread was asked to write the file"
    two = [Arrived(key, 2, "text/plain", small.sha256, 1, b"x") for key in ("a", "b")]
    assert not files.staged_at_once(two)
    assert not files.staged_at_once([Arrived("k", 2, "", b"", 0, None)])
    await files.close()
    await store.close()
