# SPDX-License-Identifier: Apache-2.0
"""Who waits for changes of a feed on NATS can always be stopped."""

import asyncio

import pytest
from hvchannel_daemons.feed import open_feed
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting as asyncio.wait_for does before Python 3.12 when a message comes together with the cancellation."""
    next_msg = Subscription.next_msg

    async def next_or_what_came(self: Subscription, timeout: float | None = 1.0) -> Msg:  # noqa: ASYNC109 (as the library has it)
        try:
            return await next_msg(self, timeout)
        except asyncio.CancelledError:
            return await next_msg(self, 30)

    monkeypatch.setattr(Subscription, "next_msg", next_or_what_came)


async def test_a_feed_closes_although_an_answer_comes_at_that_moment(forgetful: None, nats_feed: str) -> None:
    feed = await open_feed(nats_feed)
    revision = await feed.put("vm1", "a", b"x", "")
    waiting = asyncio.create_task(feed.settled("vm1", "a", revision))
    await feed.record_inventory("vm1", {"a": revision})
    assert (await waiting).acknowledged == revision
    async with asyncio.timeout(30):
        await feed.close()
