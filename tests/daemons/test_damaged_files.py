# SPDX-License-Identifier: Apache-2.0
"""Files that do not hold what was written to them: the guest's store is set aside, the feed refuses."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hvchannel_daemons.feed import FeedError, SqliteFeed
from hvchannel_daemons.guestd.file_access import Access
from hvchannel_daemons.guestd.file_tree import FileTree
from hvchannel_daemons.guestd.files import Files
from hvchannel_daemons.guestd.store import GuestStore
from hvchannel_daemons.guestd.store_tables import Arrived
from hvchannel_daemons.storage.database import DamagedError

from tests.daemons.test_guest_store import arrived

Damage = Callable[[Path], None]


def _overwritten(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"no database" * 10)


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _emptied(path: Path) -> None:
    os.truncate(path, 0)


def _garbled(path: Path) -> None:
    """A bit of a document's content, which no check of SQLite's looks at."""
    whole = path.read_bytes()
    at = whole.index(b"the content")
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"The")


async def _filled(directory: Path) -> list[Arrived]:
    """A store with documents, all in its main file."""
    store = GuestStore(directory)
    binding = await store.bind("vm1", "origin")
    documents = [arrived(f"key{n}", 1, b"the content" * 800) for n in range(20)]
    await store.apply(binding, documents)
    await store.close()
    return documents


@pytest.mark.parametrize("damage", [_overwritten, _cut, _garbled])
async def test_a_damaged_store_is_set_aside(tmp_path: Path, damage: Damage) -> None:
    await _filled(tmp_path)
    damage(tmp_path / "store.db")
    store = GuestStore(tmp_path)
    assert store.set_aside
    assert (tmp_path / "store.db.damaged").exists()
    binding = await store.bind("vm1", "origin")
    assert await store.inventory(binding) == []
    await store.close()
    again = GuestStore(tmp_path)
    assert not again.set_aside
    await again.close()


async def test_a_whole_store_is_not(tmp_path: Path) -> None:
    documents = await _filled(tmp_path)
    store = GuestStore(tmp_path)
    assert store.set_aside == ""
    binding = await store.bind("vm1", "origin")
    assert dict(await store.inventory(binding)) == {document.key: 1 for document in documents}
    await store.close()


async def test_damage_is_told_while_the_store_is_open(tmp_path: Path) -> None:
    await _filled(tmp_path)
    store = GuestStore(tmp_path)
    told: list[DamagedError] = []
    store.on_damage(told.append)
    size = (tmp_path / "store.db").stat().st_size
    with (tmp_path / "store.db").open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(size - 4096))
    with pytest.raises(DamagedError, match=r"store\.db: "):
        for n in range(20):
            document = await store.document(f"key{n}")
            assert document is None or await store.piece(document, 0)
    assert told
    await store.close()


@pytest.mark.parametrize("damage", [_overwritten, _cut, _emptied])
async def test_a_damaged_feed_refuses_with_the_remedy(tmp_path: Path, damage: Damage) -> None:
    path = tmp_path / "feed.db"
    feed = await SqliteFeed.open(path)
    for n in range(20):
        await feed.put("vm1", f"key{n}", bytes(9000), "")
    await feed.close()
    before = path.read_bytes()
    damage(path)
    with pytest.raises(FeedError, match=rf"feed {path}: .*: put a copy of it back; or, .* remove {path}\*"):
        feed = await SqliteFeed.open(path)
        try:
            await feed.serve("host")
        finally:
            await feed.close()
    path.write_bytes(before)
    feed = await SqliteFeed.open(path)
    await feed.serve("host")
    assert len(await feed.deliveries("vm1")) == 20
    await feed.close()


async def test_many_may_make_a_feed_at_once(tmp_path: Path) -> None:
    feeds = await asyncio.gather(*(SqliteFeed.open(tmp_path / "feed.db") for _ in range(8)))
    assert len({feed.origin for feed in feeds}) == 1
    for feed in feeds:
        await feed.close()


async def test_files_stay_until_all_has_come_again(tmp_path: Path) -> None:
    """The store was lost, not they: programs go on reading them."""
    await _filled(tmp_path)
    store = GuestStore(tmp_path)
    files = Files(store, FileTree(tmp_path / "documents", Access()))
    await files.publish()
    await files.close()
    await store.close()
    _overwritten(tmp_path / "store.db")

    store = GuestStore(tmp_path)
    files = Files(store, FileTree(tmp_path / "documents", Access()), keeps=bool(store.set_aside))
    await files.publish()
    assert len(list((tmp_path / "documents").glob("key*"))) == 20
    binding = await store.bind("vm1", "origin")
    await store.apply(binding, [arrived("key3", 2, b"new")])
    await files.publish()
    assert len(list((tmp_path / "documents").glob("key*"))) == 20
    await files.synced(swept=False)
    assert [path.name for path in (tmp_path / "documents").glob("key*")] == ["key3"]
    assert (tmp_path / "documents" / "key3").read_bytes() == b"new"
    await files.close()
    await store.close()
