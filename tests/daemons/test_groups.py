# SPDX-License-Identifier: Apache-2.0
"""Atomic groups from the feed to the guest's local programs: all of one or nothing, at every moment."""

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from hvchannel_daemons import limits
from hvchannel_daemons.feed import Feed, Member, Outcome, SessionState
from hvchannel_daemons.guestd.client import GuestClient
from hvchannel_daemons.guestd.store import GuestStore
from hvchannel_daemons.hostd import outbox
from hvchannel_daemons.storage.database import DatabaseError


@pytest.fixture(params=["sqlite", "nats"])
def feed_at(request: pytest.FixtureRequest, short_dir: Path) -> str:
    sqlite = request.param == "sqlite"
    return str(short_dir / "feed.db") if sqlite else request.getfixturevalue("nats_feed")


async def is_ready(feed: Feed, vif: str) -> bool:
    session = (await feed.sessions()).get(vif)
    return session is not None and session.state is SessionState.READY


@pytest.fixture
def states(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, int]]:
    """The documents a guest inside this test holds, after each of its commits."""
    seen: list[dict[str, int]] = []

    def recording(original):
        async def call(self, *arguments):
            result = await original(self, *arguments)
            changes = await self.changes("", after=0, limit=10_000)
            seen.append({change.key: change.revision for change in changes if not change.deleted})
            return result

        return call

    for name in ("apply", "apply_group"):
        monkeypatch.setattr(GuestStore, name, recording(getattr(GuestStore, name)))
    return seen


async def settle(feed: Feed, vif: str) -> None:
    async with asyncio.timeout(60):
        for delivery in await feed.deliveries(vif):
            await feed.settled(vif, delivery.document.key, delivery.document.revision)


async def test_a_group_arrives_as_one(rig, control, feed, port, short_dir: Path) -> None:
    files = short_dir / "files"
    content = random.Random(1).randbytes(3 * limits.PIECE_BYTES)
    async with (
        rig.guestd(short_dir / "vm1", f"127.0.0.11:{port}", files=files),
        rig.hostd(short_dir, port),
    ):
        control.attach("vm1", "127.0.0.11")
        await feed.put("vm1", "gone", b"", "")
        await settle(feed, "vm1")

        def watched() -> list[tuple[str, bool, bool]]:
            seen = []
            with GuestClient(short_dir / "vm1/guestd.sock") as client:
                for change in client.watch():
                    if change.kind == "synced":
                        loop.call_soon_threadsafe(watching.set)
                    elif watching.is_set():
                        seen.append((change.key, change.more, (files / change.key).exists()))
                        if not change.more:
                            return seen
            return seen

        loop, watching = asyncio.get_running_loop(), asyncio.Event()
        following = asyncio.create_task(asyncio.to_thread(watched))
        await watching.wait()
        members = [Member("a", b"1"), Member("big", content), Member("gone", None)]
        await feed.put_group("vm1", members)
        async with asyncio.timeout(30):
            seen = await following
        assert seen == [("a", True, True), ("big", True, True), ("gone", False, False)]
        await settle(feed, "vm1")
        assert (files / "big").read_bytes() == content


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_whatever_else_is_put_no_group_is_seen_in_part(
    rig, control, feed, port, states, short_dir: Path, seed: int
) -> None:
    """Groups that overlap, single documents that replace members, a guest that comes and goes."""
    chance = random.Random(seed)
    keys = [f"k{n}" for n in range(6)]
    groups: list[dict[str, int]] = []
    deleted: list[tuple[str, int]] = []

    async def put(times: int) -> None:
        for _ in range(times):
            size = chance.choice([1, 1000, 2 * limits.PIECE_BYTES])
            if chance.random() < 0.5:
                members = [
                    Member(key, None if chance.random() < 0.2 else bytes(size))
                    for key in chance.sample(keys, chance.randrange(2, 5))
                ]
                groups.append(await feed.put_group("vm1", members))
                deleted.extend(
                    (m.key, groups[-1][m.key]) for m in members if m.content is None and m.key in groups[-1]
                )
            else:
                await feed.put("vm1", chance.choice(keys), bytes(size), "")

    control.attach("vm1", "127.0.0.11")
    async with rig.hostd(short_dir, port):
        for _ in range(4):
            await put(8)  # nobody there
            async with rig.guestd(short_dir / "vm1", f"127.0.0.11:{port}"):
                await put(8)
                await settle(feed, "vm1")
    assert len(groups) > 10
    assert not half_seen(groups, states, deleted)


def half_seen(
    groups: list[dict[str, int]], states: list[dict[str, int]], deleted: Sequence[tuple[str, int]] = ()
) -> list[tuple]:
    """Whoever sees a member of a group sees the other members, or what came after them."""

    def is_older(state: dict[str, int], key: str, revision: int) -> bool:
        if key in state:
            return state[key] < revision
        return not any(other == key and at >= revision for other, at in deleted)

    return [
        (group, state)
        for state in states
        for group in groups
        if any(state.get(key) == revision for key, revision in group.items())
        and any(is_older(state, *member) for member in group.items())
    ]


async def test_a_group_that_the_guest_could_not_store_comes_again_as_one(
    rig, control, feed, port, states, short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "_RETRY_SECONDS", 0.05)
    original, failures = GuestStore.apply_group, 2

    async def failing(self, *arguments):
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise DatabaseError("disk full")
        return await original(self, *arguments)

    monkeypatch.setattr(GuestStore, "apply_group", failing)
    async with rig.guestd(short_dir / "vm1", f"127.0.0.11:{port}"), rig.hostd(short_dir, port):
        control.attach("vm1", "127.0.0.11")
        await feed.put_group("vm1", [Member("a", b"1"), Member("b", b"2")])
        await settle(feed, "vm1")
        await rig.eventually(lambda: is_ready(feed, "vm1"), "READY")
    assert (failures < 0, states) == (True, [{"a": 1, "b": 1}])


async def test_a_guest_without_room_rejects_all_of_a_group(
    rig, control, feed, port, short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rig.guestd(short_dir / "vm1", f"127.0.0.11:{port}"), rig.hostd(short_dir, port):
        control.attach("vm1", "127.0.0.11")
        await feed.put("vm1", "a", b"1", "")
        await settle(feed, "vm1")
        await feed.put_group("vm1", [Member("a", b"2"), Member("b", b"2"), Member("c", b"2")])
        monkeypatch.setattr(limits, "LIVE_DOCUMENTS", 2)
        await settle(feed, "vm1")
        deliveries = {d.document.key: d for d in await feed.deliveries("vm1")}
    assert {d.outcome for d in deliveries.values()} == {Outcome.REJECTED}
    assert "member c: the guest holds 2 documents already" in deliveries["b"].error


async def test_members_that_are_replaced_while_they_are_sent(
    rig, control, feed, port, states, short_dir: Path
) -> None:
    content = bytes(8 * limits.PIECE_BYTES)
    groups = []
    async with rig.guestd(short_dir / "vm1", f"127.0.0.11:{port}"), rig.hostd(short_dir, port):
        control.attach("vm1", "127.0.0.11")
        for n in range(6):
            groups.append(await feed.put_group("vm1", [Member("a", content), Member("b", content)]))
            await feed.put("vm1", "ab"[n % 2], b"alone", "")
        await settle(feed, "vm1")
    assert not half_seen(groups, states)
