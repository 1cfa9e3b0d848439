# SPDX-License-Identifier: Apache-2.0
"""Groups on NATS, where a put of several messages can die between them: what is not complete is nothing."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from hvchannel_daemons import limits
from hvchannel_daemons.feed import Feed, FeedError, Member, open_feed
from hvchannel_daemons.feed.jetstream.feed import NatsFeed


@pytest.fixture
async def feeds(nats_feed: str) -> AsyncIterator[tuple[NatsFeed, Feed]]:
    """One that puts and one that looks."""
    opened = [await open_feed(nats_feed) for _ in range(2)]
    yield tuple(opened)  # type: ignore[misc]
    for feed in opened:
        await feed.close()


async def put_half(feed: NatsFeed, monkeypatch: pytest.MonkeyPatch, *members: Member) -> None:
    """Dies before the group's mark."""

    async def die(*_: object) -> None:
        raise FeedError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(feed._putting, "mark", die)
        with pytest.raises(FeedError, match="killed"):
            await feed.put_group("vm1", members)


async def no_contention(host: str) -> None:
    raise AssertionError(host)


async def seen(feed: Feed) -> dict[str, tuple[int, bytes]]:
    documents = await feed.documents("vm1", after=0, limit=100)
    return {d.key: (d.revision, await feed.content(d)) for d in documents}


async def comes_to(feed: Feed, expected: dict[str, tuple[int, bytes]]) -> bool:
    return await seen(feed) == expected


async def test_half_a_group_is_never_seen(rig, feeds, monkeypatch: pytest.MonkeyPatch) -> None:
    feed, other = feeds
    big = bytes(limits.PIECE_BYTES + 1)
    await feed.put("vm1", "a", b"1", "")
    await feed.put("vm1", "big", big, "")
    before = {"a": (1, b"1"), "big": (1, big)}
    await put_half(feed, monkeypatch, Member("a", b"2"), Member("big", b""), Member("new", b"2"))
    for looking in feeds:
        assert await seen(looking) == before
        assert [d.document.revision for d in await looking.deliveries("vm1")] == [1, 1]
        assert (await looking.delivery("vm1", "a")).document.revision == 1
        assert await looking.delivery("vm1", "new") is None
        assert [d.revision for d in await looking.history("vm1", "a")] == [1]
    await other.serve("hv1")  # a hostd that comes later
    await other.claim("vm1", no_contention)
    assert await seen(other) == before
    assert await feed.delete("vm1", "new") is None
    assert await feed.put("vm1", "a", b"3", "") == 3
    assert await feed.put_group("vm1", [Member("big", b"x"), Member("new", b"y")]) == {"big": 3, "new": 2}
    after = {"a": (3, b"3"), "big": (3, b"x"), "new": (2, b"y")}
    await rig.eventually(lambda: comes_to(other, after), "all of it")
    assert await seen(feed) == after


async def test_hostd_sees_a_group_when_its_last_message_comes(feeds, monkeypatch: pytest.MonkeyPatch) -> None:
    feed, serving = feeds
    await serving.serve("hv1")
    claim = await serving.claim("vm1", no_contention)
    await feed.put("vm1", "a", b"1", "")
    original, looks = feed._putting.mark, []

    async def mark(*arguments: object) -> None:
        async with asyncio.timeout(30):
            await claim.changed.wait()
        looks.append(await seen(serving))
        claim.changed.clear()
        await original(*arguments)

    monkeypatch.setattr(feed._putting, "mark", mark)
    await feed.put_group("vm1", [Member("a", b"2"), Member("b", b"2")])
    async with asyncio.timeout(30):
        await claim.changed.wait()
    assert looks == [{"a": (1, b"1")}]
    assert await seen(serving) == {"a": (2, b"2"), "b": (1, b"2")}
    first, second = await serving.documents("vm1", after=0, limit=1)
    assert (first.group, first.group_size, first.position) == (second.group, 2, second.position)


async def test_a_group_that_a_later_put_overtook(feeds, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its mark comes after the put of one of its keys."""
    feed, other = feeds
    original = feed._putting.mark

    async def mark(*arguments: object) -> None:
        await other.put("vm1", "a", b"later", "")
        await original(*arguments)

    monkeypatch.setattr(feed._putting, "mark", mark)
    assert await feed.put_group("vm1", [Member("a", b"1"), Member("b", b"1")]) == {"a": 1, "b": 1}
    assert await seen(other) == {"a": (2, b"later"), "b": (1, b"1")}
    await other.serve("hv1")
    await other.claim("vm1", no_contention)
    assert await seen(other) == {"a": (2, b"later"), "b": (1, b"1")}
