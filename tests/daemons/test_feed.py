# SPDX-License-Identifier: Apache-2.0
"""The promises of `Feed`, for every implementation of it."""

import asyncio
import contextlib
import hashlib
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from hvchannel_daemons import limits
from hvchannel_daemons.feed import (
    HISTORY_REVISIONS,
    Ack,
    ContentGone,
    Feed,
    FeedClaimedError,
    FeedError,
    Member,
    Outcome,
    Owner,
    Quota,
    QuotaError,
    Report,
    Session,
    SessionState,
    SqliteFeed,
    Usage,
    open_feed,
)
from hvchannel_daemons.feed.sqlite_tables import LATER_OF_SESSIONS
from hvchannel_daemons.reasons import Reason

Opener = Callable[[], Awaitable[Feed]]


@pytest.fixture(params=["sqlite", "nats"])
async def opener(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Opener]:
    """Opens the same feed again and again, as several processes would."""
    opened: list[Feed] = []
    sqlite = request.param == "sqlite"
    where = str(tmp_path / "feed.db") if sqlite else request.getfixturevalue("nats_feed")

    async def open_again() -> Feed:
        opened.append(await open_feed(where))
        return opened[-1]

    yield open_again
    for feed in opened:
        await feed.close()


@pytest.fixture
async def feed(opener: Opener) -> Feed:
    return await opener()


def report(number: int, **changes) -> Report:
    fields = {"id": number.to_bytes(16), "sequence": number, "type": "t", "content_type": "text/plain"}
    return Report(**(fields | {"data": b"data", "time_unix_ns": 1} | changes))


async def test_put_gives_increasing_revisions_and_keeps_the_newest(feed: Feed) -> None:
    assert [await feed.put("vm1", "a", f"v{n}".encode(), "text/plain") for n in range(3)] == [1, 2, 3]
    assert await feed.put("vm1", "b", b"", "") == 1
    assert await feed.put("vm2", "a", b"x", "") == 1
    delivery = await feed.delivery("vm1", "a")
    assert delivery is not None
    document = delivery.document
    assert (document.revision, document.size, document.content_type) == (3, 2, "text/plain")
    assert document.sha256 == hashlib.sha256(b"v2").digest()
    assert await feed.content(document) == b"v2"
    assert (delivery.acknowledged, delivery.outcome, delivery.settled) == (0, None, False)


async def test_what_is_put_is_there_after_reopening(opener: Opener) -> None:
    first = await opener()
    content = bytes(range(256)) * 4096 * 3
    await first.put("vm1", "big", content, "")
    await first.close()
    second = await opener()
    delivery = await second.delivery("vm1", "big")
    assert delivery is not None
    assert await second.content(delivery.document) == content
    assert second.origin == first.origin


async def test_large_content_of_a_replaced_document_is_gone(feed: Feed) -> None:
    await feed.put("vm1", "a", bytes(limits.PIECE_BYTES + 1), "")
    old = (await feed.documents("vm1", after=0, limit=10))[0]
    await feed.put("vm1", "a", b"new", "")
    with pytest.raises(ContentGone):
        await feed.piece(old, 0)
    assert [d.revision for d in await feed.history("vm1", "a")] == [2, 1]


async def test_history_is_bounded_and_keeps_small_contents(feed: Feed) -> None:
    for n in range(1, HISTORY_REVISIONS + 4):
        await feed.put("vm1", "a", f"v{n}".encode(), "text/plain")
    await feed.put("vm1", "b", b"other", "")
    await feed.delete("vm1", "a")
    newest = HISTORY_REVISIONS + 4
    history = await feed.history("vm1", "a")
    assert [d.revision for d in history] == list(range(newest, newest - HISTORY_REVISIONS, -1))
    assert [d.deleted for d in history] == [True] + [False] * (HISTORY_REVISIONS - 1)
    assert [await feed.content(d) for d in history[1:]] == [f"v{d.revision}".encode() for d in history[1:]]
    assert await feed.small(history[:3]) == [b"", f"v{newest - 1}".encode(), f"v{newest - 2}".encode()]
    assert await feed.history("vm1", "never") == []


async def test_watch_shows_what_is_there_and_each_change(opener: Opener) -> None:
    watching, other = await opener(), await opener()
    await other.put("vm1", "a", b"", "")
    seen = watching.watch("vm1")
    async with asyncio.timeout(10):
        assert (await anext(seen)).document.key == "a"
        await other.put("vm2", "a", b"", "")
        await other.put("vm1", "b", b"", "")
        delivery = await anext(seen)
        assert (delivery.document.key, delivery.settled) == ("b", False)
        await other.record_acks("vm1", [Ack("b", 1, Outcome.STORED, 1)])
        delivery = await anext(seen)
        assert (delivery.document.key, delivery.settled) == ("b", True)
    position = await other.position("vm1")
    await other.put("vm1", "c", b"", "")
    later = watching.watch("vm1", after=position)
    async with asyncio.timeout(10):
        assert (await anext(later)).document.key == "c"
    await asyncio.gather(seen.aclose(), later.aclose())


async def nobody(host: str) -> None:
    raise AssertionError(f"{host} holds the VIF")


async def test_a_serving_feed_sees_what_others_put(opener: Opener) -> None:
    """Of a VIF that it holds an engine may answer from memory."""
    putting, serving = await opener(), await opener()
    big = bytes(limits.PIECE_BYTES) + b"end"
    await putting.put("vm1", "before", b"1", "")
    await putting.put("vm2", "before", b"1", "")
    await putting.record_acks("vm1", [Ack("before", 1, Outcome.STORED, 1)])
    await serving.serve("hv1")
    claim = await serving.claim("vm1", nobody)
    assert await serving.position("vm1") == await putting.position("vm1")
    claim.changed.clear()
    await putting.put("vm2", "big", big, "")
    await putting.put("vm1", "big", big, "")
    async with asyncio.timeout(10):
        await claim.changed.wait()
        while await serving.position("vm1") < await putting.position("vm1"):
            claim.changed.clear()
            await claim.changed.wait()
    before, after = await serving.documents("vm1", after=0, limit=10)
    assert (before.key, after.key) == ("before", "big")
    assert await serving.small([before]) == [b"1"]
    assert await serving.content(after) == big
    await serving.record_inventory("vm1", {"before": 1, "big": 1})
    assert [d.acknowledged for d in await putting.deliveries("vm1")] == [1, 1]
    for vif in ("vm1", "vm2"):
        assert await serving.deliveries(vif) == await putting.deliveries(vif)


async def test_a_claim_is_told_of_each_change(opener: Opener) -> None:
    putting, serving = await opener(), await opener()
    await serving.serve("hv1")
    claims = [await serving.claim(vif, nobody) for vif in ("vm1", "vm2")]
    for n in range(5):
        for claim in claims:
            claim.changed.clear()
            revision = await putting.put(claim.vif, "a", b"", "")
            async with asyncio.timeout(10):
                await claim.changed.wait()
            (document,) = await serving.documents(claim.vif, after=0, limit=10)
            assert (document.revision, revision) == (n + 1, n + 1)


async def test_a_vif_is_held_until_it_is_released(opener: Opener) -> None:
    serving, other = await opener(), await opener()
    assert await serving.serve("hv1") == set()
    await serving.claim("vm1", nobody)
    await serving.claim("vm1", nobody)  # attached elsewhere, say
    await serving.claim("vm2", nobody)
    await serving.set_session(Session("vm1", SessionState.READY, "", 1, host="hv1"))
    held = {"vm1": Owner("hv1", alive=True), "vm2": Owner("hv1", alive=True)}
    assert await other.owners() == await serving.owners() == held
    assert (await other.sessions()).keys() == {"vm1"}
    await serving.release("vm1")
    await serving.release("never")
    assert await other.owner("vm1") is None
    assert await other.owner("vm2") == Owner("hv1", alive=True)
    assert await other.sessions() == {}
    assert await other.contenders() == {}
    await serving.claim("vm1", nobody)
    await serving.close()
    assert await other.owner("vm1") == Owner("hv1", alive=False)


async def test_delete_is_a_tombstone_with_a_revision(feed: Feed) -> None:
    await feed.put("vm1", "a", b"x", "")
    assert await feed.delete("vm1", "a") == 2
    assert await feed.delete("vm1", "a") is None
    assert await feed.delete("vm1", "never") is None
    (tombstone,) = await feed.documents("vm1", after=0, limit=10)
    assert (tombstone.deleted, tombstone.revision, tombstone.content) == (True, 2, None)
    assert await feed.put("vm1", "a", b"again", "") == 3


async def test_a_revision_is_beyond_whatever_the_guest_holds(feed: Feed) -> None:
    """A feed restored from an old copy."""
    await feed.put("vm1", "a", b"x", "")
    await feed.record_inventory("vm1", {"a": 57})
    assert await feed.put("vm1", "a", b"y", "") == 58


async def test_documents_are_in_order_of_change_and_none_is_missed(feed: Feed) -> None:
    for key in ("a", "b", "c"):
        await feed.put("vm1", key, b"1", "")
    await feed.put("vm1", "a", b"2", "")
    documents = await feed.documents("vm1", after=0, limit=10)
    assert [(d.key, d.revision) for d in documents] == [("b", 1), ("c", 1), ("a", 2)]
    assert await feed.documents("vm1", after=0, limit=1) == documents[:1]
    assert await feed.documents("vm1", after=documents[0].position, limit=10) == documents[1:]
    assert await feed.position("vm1") == documents[-1].position
    assert await feed.position("vm2") == 0


async def test_several_writers_at_once_lose_nothing(opener: Opener) -> None:
    feeds = [await opener() for _ in range(3)]
    await asyncio.gather(*(feed.put("vm1", "a", b"x", "") for feed in feeds for _ in range(20)))
    delivery = await feeds[0].delivery("vm1", "a")
    assert delivery is not None
    assert delivery.document.revision == 60


async def test_acks_are_recorded_and_settled_waits_for_them(feed: Feed) -> None:
    await feed.put("vm1", "a", b"1", "")
    waiting = asyncio.ensure_future(feed.settled("vm1", "a", 2))
    await feed.put("vm1", "a", b"2", "")
    await feed.record_acks("vm1", [Ack("a", 1, Outcome.STORED, 1)])
    assert not waiting.done()
    await feed.record_acks("vm1", [Ack("a", 2, Outcome.STORED, 2)])
    async with asyncio.timeout(10):
        delivery = await waiting
    assert (delivery.acknowledged, delivery.outcome, delivery.settled) == (2, Outcome.STORED, True)


async def test_a_rejection_settles_and_keeps_what_the_guest_held(feed: Feed) -> None:
    await feed.put("vm1", "a", b"1", "")
    await feed.record_acks("vm1", [Ack("a", 1, Outcome.STORED, 1)])
    await feed.put("vm1", "a", b"2", "")
    await feed.record_acks("vm1", [Ack("a", 2, Outcome.FAILED, 1, "disk full")])
    delivery = await feed.delivery("vm1", "a")
    assert delivery is not None
    assert (delivery.settled, delivery.error) == (False, "disk full")
    await feed.record_acks("vm1", [Ack("a", 2, Outcome.REJECTED, 1, "too large")])
    async with asyncio.timeout(10):
        delivery = await feed.settled("vm1", "a", 2)
    assert (delivery.acknowledged, delivery.error) == (1, "too large")


async def test_settled_of_an_unknown_key(feed: Feed) -> None:
    with pytest.raises(KeyError):
        await feed.settled("vm1", "never", 1)


async def test_an_inventory_replaces_what_was_acknowledged(feed: Feed) -> None:
    for key in ("kept", "lost", "deleted"):
        await feed.put("vm1", key, b"", "")
        await feed.record_acks("vm1", [Ack(key, 1, Outcome.STORED, 1)])
    await feed.delete("vm1", "deleted")
    await feed.record_inventory("vm1", {"kept": 1})
    now = {d.document.key: (d.acknowledged, d.settled) for d in await feed.deliveries("vm1")}
    assert now == {"kept": (1, True), "lost": (0, False), "deleted": (2, True)}


@pytest.mark.parametrize("claimed", [limits.REVISION_MAX, 1 + limits.REVISION_LEAP + 1])
async def test_what_no_guest_can_hold_is_not_recorded(feed: Feed, claimed: int) -> None:
    """Else the next put would have to go beyond it, until there are no more revisions."""
    for key in ("kept", "claimed"):
        await feed.put("vm1", key, b"", "")
    with pytest.raises(ValueError, match=rf"revision {claimed} of 'claimed' cannot be held: 1 is the newest"):
        await feed.record_inventory("vm1", {"kept": 1, "claimed": claimed})
    assert [d.acknowledged for d in await feed.deliveries("vm1")] == [0, 0]
    await feed.record_inventory("vm1", {"kept": 1, "claimed": 1 + limits.REVISION_LEAP})
    assert await feed.put("vm1", "claimed", b"", "") == 2 + limits.REVISION_LEAP


async def test_a_report_is_stored_once_and_in_order(feed: Feed) -> None:
    assert await feed.add_reports("vm1", [report(1), report(2)]) == 2
    assert await feed.add_reports("vm1", [report(2), report(3)]) == 1
    assert await feed.add_reports("vm2", [report(2, about_key="a", about_revision=7)]) == 1
    stored = await feed.reports("vm1")
    assert [s.report for s in stored] == [report(1), report(2), report(3)]
    assert [s.report.sequence for s in await feed.reports("vm1", after=stored[0].number, limit=1)] == [2]
    last = await feed.last_reports()
    assert {vif: s.report.sequence for vif, s in last.items()} == {"vm1": 3, "vm2": 2}


async def test_reports_of_a_vif_are_bounded(feed: Feed) -> None:
    big = bytes(limits.MIB)
    for n in range(0, 70, 10):
        await feed.add_reports("vm1", [report(n + m + 1, data=big) for m in range(10)])
    await feed.add_reports("vm2", [report(1)])
    kept = await feed.reports("vm1", limit=100)
    assert [s.report.sequence for s in kept] == list(range(7, 71))
    assert len(await feed.reports("vm2")) == 1


async def test_sessions_and_vifs(feed: Feed) -> None:
    await feed.put("vm1", "a", b"", "")
    await feed.add_reports("vm2", [report(1)])
    session = Session(
        *("vm3", SessionState.BACKOFF, "connection refused", 5, "169.254.1.10:2345", 1, "agent", "hv1"),
        *(Reason.REFUSED, Reason.LOST, "lost", 6, 7, 8, 9),
    )
    await feed.set_session(session)
    assert await feed.sessions() == {"vm3": session}
    assert await feed.vifs() == ["vm1", "vm2", "vm3"]
    await feed.serve("hv1")
    assert await feed.sessions() == {}


async def test_one_hostd_of_a_host_at_a_time(opener: Opener) -> None:
    first, second, third = await opener(), await opener(), await opener()
    await first.serve("hv1")
    with pytest.raises(FeedClaimedError, match="another hostd"):
        await second.serve("hv1")
    await first.close()
    await third.serve("hv1")
    with pytest.raises(ValueError, match="host 'hv 1' is not valid"):
        await second.serve("hv 1")


@pytest.mark.parametrize(
    ("vif", "key", "content_type", "message"),
    [
        ("", "a", "", "VIF id '' is not valid"),
        ("vm 1", "a", "", "VIF id 'vm 1' is not valid"),
        ("vm1", "", "", "key '' is not valid"),
        ("vm1", "a b", "", "key 'a b' is not valid"),
        ("vm1", "ü", "", "key 'ü' is not valid"),
        ("vm1", "k" * 257, "", "is not valid"),
        ("vm1", "a", "line\nfeed", "content type"),
    ],
)
async def test_names_are_checked(feed: Feed, vif: str, key: str, content_type: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        await feed.put(vif, key, b"", content_type)
    assert await feed.vifs() == []


async def test_size_is_checked(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DOCUMENT_BYTES", 10)
    with pytest.raises(ValueError, match="document of 11 bytes is too large"):
        await feed.put("vm1", "a", bytes(11), "")


async def test_number_of_documents_is_checked(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LIVE_DOCUMENTS", 2)
    await feed.put("vm1", "a", b"", "")
    await feed.put("vm1", "b", b"", "")
    with pytest.raises(QuotaError, match="VIF vm1 has 2 documents already"):
        await feed.put("vm1", "c", b"", "")
    await feed.put("vm1", "b", b"again", "")
    await feed.delete("vm1", "a")
    await feed.put("vm1", "c", b"", "")


async def test_a_group_is_put_as_one(feed: Feed) -> None:
    await feed.put("vm1", "a", b"old", "")
    await feed.put("vm1", "gone", b"", "")
    position = await feed.position("vm1")
    members = [Member("a", b"1", "x/y"), Member("b", b"2"), Member("gone", None), Member("never", None)]
    assert await feed.put_group("vm1", members) == {"a": 2, "b": 1, "gone": 2}
    documents = await feed.documents("vm1", after=position, limit=10)
    assert [(d.key, d.revision, d.deleted) for d in documents] == [
        ("a", 2, False),
        ("b", 1, False),
        ("gone", 2, True),
    ]
    assert {d.group for d in documents} == {documents[0].group} != {""}
    assert [d.group_size for d in documents] == [3] * 3
    assert (await feed.content(documents[0]), documents[0].content_type) == (b"1", "x/y")
    await feed.put("vm1", "a", b"newer", "")
    left = await feed.documents("vm1", after=position, limit=10)
    assert [(d.key, d.group_size) for d in left] == [("b", 3), ("gone", 3), ("a", 0)]
    assert await feed.put_group("vm1", [Member("alone", b"")]) == {"alone": 1}
    alone = await feed.delivery("vm1", "alone")
    assert alone is not None and alone.document.group == ""


async def test_members_of_a_group_follow_each_other(opener: Opener) -> None:
    """Whoever else puts meanwhile."""
    feeds = [await opener() for _ in range(3)]
    groups = [feeds[n % 2].put_group("vm1", [Member(f"{n}/{m}", b"x") for m in range(5)]) for n in range(4)]
    singles = [feeds[2].put("vm1", f"single{n}", b"", "") for n in range(10)]
    await asyncio.gather(*groups, *singles)
    documents = await feeds[0].documents("vm1", after=0, limit=100)
    assert len(documents) == 30
    seen = [d.group for n, d in enumerate(documents) if n == 0 or d.group != documents[n - 1].group]
    assert len([group for group in seen if group]) == 4


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], "a group of 0 documents"),
        ([Member(f"k{n}", b"") for n in range(65)], r"a group of 65 documents \(valid: 1 to 64\)"),
        ([Member("a", b""), Member("a", None)], "key 'a' is in the group twice"),
        ([Member("a", b""), Member("a b", b"")], "key 'a b' is not valid"),
        ([Member("a", bytes(6)), Member("b", bytes(6))], "a group of 12 bytes is too large"),
    ],
)
async def test_groups_are_checked(
    feed: Feed, monkeypatch: pytest.MonkeyPatch, members: list[Member], message: str
) -> None:
    monkeypatch.setattr(limits, "GROUP_BYTES", 10)
    with pytest.raises(ValueError, match=message):
        await feed.put_group("vm1", members)
    assert await feed.vifs() == []


async def test_a_quota_is_kept_and_enforced(opener: Opener) -> None:
    feed, other = await opener(), await opener()
    assert await feed.quota("vm1") == Quota()
    await feed.set_quota("vm1", Quota(bytes=100, documents=2, reports_per_second=5))
    assert await other.quota("vm1") == Quota(100, 2, 5)
    await other.put("vm1", "a", bytes(60), "")
    with pytest.raises(QuotaError, match="VIF vm1 uses 60 of 100 bytes, 41 more are too many"):
        await other.put("vm1", "b", bytes(41), "")
    await other.put("vm1", "b", bytes(40), "")
    with pytest.raises(QuotaError, match="has 2 documents already"):
        await other.put("vm1", "c", b"", "")
    with pytest.raises(QuotaError):
        await other.put_group("vm1", [Member("b", b""), Member("a", bytes(101))])
    assert await feed.usage("vm1") == Usage(100, 2)
    assert [d.document.revision for d in await feed.deliveries("vm1")] == [1, 1]
    await other.put_group("vm1", [Member("a", None), Member("c", bytes(60))])
    await feed.set_quota("vm1", Quota(bytes=10))
    await other.put("vm1", "c", bytes(50), "")  # no more than before
    with pytest.raises(QuotaError):
        await other.put("vm1", "c", bytes(51), "")
    await other.delete("vm1", "c")
    assert await feed.usage("vm1") == Usage(40, 1)
    await feed.set_quota("vm1", None)
    assert await other.quota("vm1") == Quota()
    await other.put("vm2", "a", bytes(1000), "")


@pytest.mark.parametrize(
    ("quota", "message"),
    [
        (Quota(bytes=-1), "-1 bytes is not valid"),
        (Quota(documents=16385), "16385 documents is not valid"),
        (Quota(reports_per_second=0), "0 reports per second is not valid"),
    ],
)
async def test_quotas_are_checked(feed: Feed, quota: Quota, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        await feed.set_quota("vm1", quota)


async def test_sqlite_file_is_private_and_errors_name_it(tmp_path: Path) -> None:
    feed = await SqliteFeed.open(tmp_path / "feed.db")
    await feed.put("vm1", "a", b"secret", "")
    names = ("feed.db", "feed.db-wal", "feed.db-shm", "feed.db-commits")
    assert {os.stat(tmp_path / name).st_mode & 0o777 for name in names} == {0o600}  # noqa: PTH116
    await feed.close()
    other = tmp_path / "other"
    await asyncio.to_thread(other.write_bytes, b"not a database at all, not at all" * 100)
    with pytest.raises(FeedError, match="other: file is not a database"):
        await SqliteFeed.open(tmp_path / "other")
    with pytest.raises(FeedError, match="no such file"):
        await SqliteFeed.open(tmp_path / "missing", create=False)


async def test_an_sqlite_file_of_an_earlier_release_is_brought_up_to_date(tmp_path: Path) -> None:
    before = await SqliteFeed.open(tmp_path / "feed.db")
    for table in ("history", "owners"):
        await before._write(lambda c, table=table: c.execute(f"DROP TABLE {table}"))
    for column in LATER_OF_SESSIONS:
        await before._write(lambda c, column=column: c.execute(f"ALTER TABLE sessions DROP COLUMN {column}"))
    await before._write(lambda c: c.execute("INSERT INTO sessions VALUES ('vm1', 'READY', '', 1, '', 1, '')"))
    await before.close()
    after = await SqliteFeed.open(tmp_path / "feed.db")
    assert (await after.sessions())["vm1"] == Session("vm1", SessionState.READY, "", 1, "", 1, "")
    assert await after.history("vm1", "a") == []
    await after.close()


async def test_a_file_of_before_there_were_groups_and_quotas(tmp_path: Path) -> None:
    feed = await SqliteFeed.open(tmp_path / "feed.db")
    await feed.put("vm1", "a", bytes(7), "")
    await feed.put("vm1", "a", bytes(5), "")
    await feed.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "feed.db", isolation_level=None)) as c:
        for statement in (
            "DROP TABLE quotas",
            "DROP TABLE usage",
            *(f"ALTER TABLE {table} DROP COLUMN group_id" for table in ("documents", "history")),
            *(f"ALTER TABLE {table} DROP COLUMN group_size" for table in ("documents", "history")),
        ):
            c.execute(statement)
    feed = await SqliteFeed.open(tmp_path / "feed.db")
    assert await feed.usage("vm1") == Usage(5, 1)
    assert await feed.put_group("vm1", [Member("a", b"x"), Member("b", b"y")]) == {"a": 3, "b": 1}
    assert [d.size for d in await feed.history("vm1", "a")] == [1, 5, 7]
    await feed.close()
