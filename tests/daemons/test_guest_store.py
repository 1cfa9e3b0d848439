# SPDX-License-Identifier: Apache-2.0
"""guestd's store: never backwards, everything answered is there after a restart, bounded."""

import asyncio
import hashlib
import io
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hvchannel_daemons import limits
from hvchannel_daemons.guestd import store as store_module
from hvchannel_daemons.guestd.report_queue import ReportQueueFull
from hvchannel_daemons.guestd.store import (
    Applied,
    Binding,
    GuestStore,
    NotBound,
    StoreInUse,
)
from hvchannel_daemons.guestd.store_tables import Arrived
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule


def arrived(key: str, revision: int, content: bytes | None = b"x") -> Arrived:
    if content is None:
        return Arrived(key, revision, "", b"", 0, None)
    return Arrived(key, revision, "text/plain", hashlib.sha256(content).digest(), len(content), content)


async def content_of(store: GuestStore, key: str) -> bytes | None:
    document = await store.document(key)
    if document is None:
        return None
    count = -(-document.size // limits.PIECE_BYTES)
    return b"".join([await store.piece(document, n) for n in range(count)])


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[GuestStore]:
    opened = GuestStore(tmp_path)
    yield opened
    await opened.close()


async def test_a_stored_document_is_there_after_reopening(tmp_path: Path) -> None:
    store = GuestStore(tmp_path)
    binding = await store.bind("vm1", "o")
    spooled = bytes(range(256)) * 4000
    document = Arrived("big", 3, "x/y", hashlib.sha256(spooled).digest(), len(spooled), io.BytesIO(spooled))
    await store.apply(binding, [document, arrived("small", 1, b"hello")])
    await store.close()
    store = GuestStore(tmp_path)
    assert await content_of(store, "big") == spooled
    assert await content_of(store, "small") == b"hello"
    assert await store.inventory(await store.bind("vm1", "o")) == [("big", 3), ("small", 1)]
    await store.close()


async def test_outcomes(store: GuestStore) -> None:
    binding = await store.bind("vm1", "o")

    async def apply(*documents: Arrived) -> list[tuple[Applied, int]]:
        return [(a.applied, a.held) for a in await store.apply(binding, documents)]

    assert await apply(arrived("a", 2), arrived("a", 2), arrived("a", 1), arrived("a", 5)) == [
        (Applied.STORED, 2),
        (Applied.DUPLICATE, 2),
        (Applied.STALE, 2),
        (Applied.STORED, 5),
    ]
    assert await apply(arrived("a", 6, None)) == [(Applied.STORED, 6)]
    assert await apply(arrived("a", 5)) == [(Applied.STALE, 6)]
    assert await store.document("a") is None
    assert await store.inventory(binding) == []


async def test_a_duplicate_has_no_second_effect(store: GuestStore) -> None:
    binding = await store.bind("vm1", "o")
    await store.apply(binding, [arrived("a", 1, b"one")])
    before = (await store.position(), await store.document("a"))
    await store.apply(binding, [arrived("a", 1, b"two")])
    assert (await store.position(), await store.document("a")) == before


async def test_another_vif_finds_an_empty_store(store: GuestStore) -> None:
    """A cloned disk: what belongs to the VM it was cloned from is not this one's."""
    first = await store.bind("vm1", "o")
    await store.apply(first, [arrived("a", 9), arrived("gone", 9), arrived("gone", 10, None)])
    await store.queue_report("t", "", b"")
    second = await store.bind("vm2", "o")
    assert second.discarded == 1
    assert await store.document("a") is None
    assert await store.inventory(second) == []
    assert await store.queued_reports(after=0, limit=10) == []
    results = await store.apply(second, [arrived("a", 1), arrived("gone", 1)])
    assert [r.applied for r in results] == [Applied.STORED, Applied.STORED]


async def test_a_new_origin_replaces_documents_without_a_gap(store: GuestStore) -> None:
    first = await store.bind("vm1", "old")
    await store.apply(first, [arrived("kept", 50, b"old"), arrived("dropped", 50, b"old")])
    second = await store.bind("vm1", "new")
    assert await store.inventory(second) == []
    assert await content_of(store, "dropped") == b"old"
    await store.apply(second, [arrived("kept", 1, b"new")])
    assert await store.sweep(second) == 1
    assert await store.document("dropped") is None
    assert await content_of(store, "kept") == b"new"


async def test_an_old_session_can_do_nothing_any_more(store: GuestStore) -> None:
    old = await store.bind("vm1", "o")
    await store.bind("vm1", "o")
    for late in (store.apply(old, [arrived("a", 1)]), store.sweep(old), store.forget_reports(old, 9)):
        with pytest.raises(NotBound):
            await late
    assert await store.document("a") is None


async def test_reports_are_queued_durably_and_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "QUEUED_REPORTS", 3)
    store = GuestStore(tmp_path)
    assert [await store.queue_report("t", "", bytes([n])) for n in range(3)] == [1, 2, 3]
    with pytest.raises(ReportQueueFull, match="3 reports"):
        await store.queue_report("t", "", b"")
    with pytest.raises(ValueError, match="report type 'a b' is not valid"):
        await store.queue_report("a b", "", b"")
    await store.close()
    store = GuestStore(tmp_path)
    queued = await store.queued_reports(after=0, limit=10)
    assert [(r.sequence, r.data) for r in queued] == [(1, b"\0"), (2, b"\1"), (3, b"\2")]
    assert len({r.id for r in queued}) == 3
    binding = await store.bind("vm1", "o")
    await store.forget_reports(binding, 3)
    assert await store.queue_report("t", "", b"") == 4  # a sequence is never given twice
    await store.close()


async def test_documents_are_bounded(store: GuestStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LIVE_DOCUMENTS", 2)
    binding = await store.bind("vm1", "o")
    results = await store.apply(binding, [arrived("a", 1), arrived("b", 1), arrived("c", 1), arrived("a", 2)])
    assert [r.applied for r in results] == [Applied.STORED, Applied.STORED, Applied.FULL, Applied.STORED]


async def test_tombstones_are_bounded(store: GuestStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "TOMBSTONES_KEPT", 5)
    binding = await store.bind("vm1", "o")
    for n in range(9):
        await store.apply(binding, [arrived(f"k{n}", 1, None)])
    kept = await store.changes("", after=0, limit=100)
    assert [document.key for document in kept] == [f"k{n}" for n in range(4, 9)]


async def test_one_guestd_per_directory(store: GuestStore) -> None:
    with pytest.raises(StoreInUse, match="another guestd"):
        GuestStore(store.directory)


class NeverBackwards(RuleBasedStateMachine):
    """Whatever comes, in whatever order, over whatever restarts:
    the greatest revision of a key wins and stays."""

    keys = st.sampled_from(["a", "b", "c/d"])
    revisions = st.integers(1, 8)

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="hvd-"))
        self.loop = asyncio.new_event_loop()
        self.held: dict[str, tuple[int, bytes | None]] = {}
        self.seen_position = 0
        self.open()

    def open(self) -> None:
        self.store = GuestStore(self.directory)
        self.binding: Binding = self.run(self.store.bind("vm1", "o"))

    def run(self, work):
        return self.loop.run_until_complete(work)

    @rule(
        batch=st.lists(st.tuples(keys, revisions, st.none() | st.binary(max_size=8)), min_size=1, max_size=5)
    )
    def arrive(self, batch: list[tuple[str, int, bytes | None]]) -> None:
        results = self.run(self.store.apply(self.binding, [arrived(*document) for document in batch]))
        for (key, revision, content), result in zip(batch, results, strict=True):
            before = self.held.get(key, (0, None))[0]
            if revision > before:
                assert result.applied is Applied.STORED
                self.held[key] = (revision, content)
            else:
                assert result.applied is (Applied.DUPLICATE if revision == before else Applied.STALE)
            assert result.held == self.held[key][0]

    @rule()
    def restart(self) -> None:
        self.run(self.store.close())
        self.open()

    @rule()
    def reconnect(self) -> None:
        self.binding = self.run(self.store.bind("vm1", "o"))

    @invariant()
    def holds_the_greatest(self) -> None:
        live = {key: value for key, value in self.held.items() if value[1] is not None}
        assert dict(self.run(self.store.inventory(self.binding))) == {
            key: rev for key, (rev, _) in live.items()
        }
        for key, (_, content) in live.items():
            assert self.run(content_of(self.store, key)) == content

    @invariant()
    def positions_only_grow(self) -> None:
        position = self.run(self.store.position())
        assert position >= self.seen_position
        self.seen_position = position

    def teardown(self) -> None:
        self.run(self.store.close())
        self.loop.close()
        shutil.rmtree(self.directory)


NeverBackwards.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
TestNeverBackwards = NeverBackwards.TestCase
