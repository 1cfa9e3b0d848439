# SPDX-License-Identifier: Apache-2.0
"""One hostd serves a feed. It answers calls on a subject as long as it lives, and writes its name into the state
bucket: a second one hears the first, and one that was cut off finds the other's name when it comes back."""

import asyncio
import json
import uuid
from typing import Final

import nats.errors
from nats.aio.msg import Msg

from hvchannel_daemons.feed.interface import FeedClaimedError
from hvchannel_daemons.feed.jetstream.layout import Layout, last
from hvchannel_daemons.feed.jetstream.link import REQUEST_SECONDS, Link, WrongSequenceError

_LISTEN_SECONDS: Final = 0.3  # others answer within this, in one machine room


class Claim:
    """Of this process; `held` from `make` on."""

    def __init__(self, link: Link, layout: Layout) -> None:
        self._link = link
        self._layout = layout
        self._name = uuid.uuid4().hex
        self.held = False

    async def make(self) -> None:
        """Raises FeedClaimedError, FeedError."""
        link, layout = self._link, self._layout
        answers: list[dict[str, object]] = []
        inbox = link.nc.new_inbox()

        async def heard(message: Msg) -> None:
            answers.append(json.loads(message.data))

        # listening before calling: of two that come at once at least one hears the other
        calls = await link.call(lambda: link.nc.subscribe(layout.claim_call, cb=self._answer))
        replies = await link.call(lambda: link.nc.subscribe(inbox, cb=heard))
        try:
            before = await last(link, layout.state, layout.claim)
            await link.nc.publish(layout.claim_call, self._name.encode(), reply=inbox)
            await asyncio.sleep(_LISTEN_SECONDS)
            others = [answer for answer in answers if answer["name"] != self._name]
            if any(answer["held"] or str(answer["name"]) < self._name for answer in others):
                raise self._taken()
            await self._write(before.sequence if before else 0)
        except BaseException:
            await calls.unsubscribe()
            raise
        finally:
            await replies.unsubscribe()
        self.held = True

    async def check(self) -> None:
        """After the connection was lost. Raises FeedClaimedError when another has the claim now, FeedError."""
        now = await last(self._link, self._layout.state, self._layout.claim)
        if now is not None and now.data != self._name.encode():
            self.held = False
            raise self._taken()

    async def served(self) -> bool:
        """Whether any hostd serves the feed. Raises FeedError."""
        if self.held:
            return True

        async def asked() -> bool:
            try:
                answer = await self._link.nc.request(
                    self._layout.claim_call, b"", timeout=REQUEST_SECONDS / 3
                )
            except nats.errors.NoRespondersError:
                return False
            return bool(json.loads(answer.data)["held"])

        return await self._link.call(asked)

    async def _write(self, before: int) -> None:
        async def write() -> None:
            await self._link.publish(self._layout.claim, self._name.encode(), last=before)

        try:
            await self._link.call(write)
        except WrongSequenceError:
            now = await last(self._link, self._layout.state, self._layout.claim)
            if now is None or now.data != self._name.encode():  # else our own, whose answer got lost
                raise self._taken() from None

    async def _answer(self, message: Msg) -> None:
        await message.respond(json.dumps({"name": self._name, "held": self.held}).encode())

    def _taken(self) -> FeedClaimedError:
        return FeedClaimedError(f"feed {self._link.url}: another hostd serves it")
