# SPDX-License-Identifier: Apache-2.0
"""Messages of a stream in order, pulled through a consumer that the server forgets soon after we are gone.

Pulled rather than pushed: no more is under way than was asked for, whatever the stream holds.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Final

import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from hvchannel_daemons.feed.interface import FeedError
from hvchannel_daemons.feed.jetstream.link import REQUEST_SECONDS, Link, MissingError
from hvchannel_daemons.feed.jetstream.records import Stored, received

_BATCH: Final = 256
_EXPIRES_SECONDS: Final = 2.0  # the server ends a pull that long without messages, which shows that it lives
_GRACE_SECONDS: Final = 1.5
_FORGET_SECONDS: Final = 30.0


class LostError(Exception):
    """The consumer is gone, or messages are: begin anew after the last one that was seen."""


class Reader:
    """One consumer; an async context manager. `pending`: messages there were for it when it was made."""

    def __init__(
        self, link: Link, stream: str, subject: str, *, after: int | None, headers_only: bool = False
    ) -> None:
        """Messages of the subject (with wildcards) after a sequence; None: each subject's last, then what comes."""
        self._link = link
        self._stream = stream
        self._config = ConsumerConfig(
            deliver_policy=DeliverPolicy.LAST_PER_SUBJECT
            if after is None
            else DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=None if after is None else after + 1,
            filter_subject=subject,
            ack_policy=AckPolicy.NONE,
            inactive_threshold=_FORGET_SECONDS,
            num_replicas=1,
            mem_storage=True,
            headers_only=headers_only or None,
        )
        self._subscription: Subscription | None = None
        self._consumer = ""
        self._asked = 0  # messages that the open pull may still bring
        self._seen = 0
        self._epoch = link.epoch
        self.pending = 0

    async def __aenter__(self) -> "Reader":
        """Raises FeedError."""
        inbox = self._link.nc.new_inbox()
        try:
            info = await self._link.call(lambda: self._link.js.add_consumer(self._stream, self._config))
        except MissingError as error:
            raise FeedError(f"feed {self._link.url}: its stream {self._stream} is gone") from error
        self._epoch = self._link.epoch
        self._consumer = info.name
        self.pending = info.num_pending or 0
        self._subscription = await self._link.call(lambda: self._link.nc.subscribe(inbox))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(Exception):
            if self._subscription is not None:
                await self._subscription.unsubscribe()
            if self._link.up.is_set() and self._epoch == self._link.epoch:
                # a word, no request: whoever leaves need not wait for the answer
                await self._link.nc.publish(f"$JS.API.CONSUMER.DELETE.{self._stream}.{self._consumer}")

    async def batch(self) -> list[Stored]:
        """The next messages, at least one. Waits for ever. Raises LostError."""
        assert self._subscription is not None
        found: list[Stored] = []
        while not found:
            if self._asked == 0:
                await self._pull()
            try:
                message = await self._next(_EXPIRES_SECONDS + _GRACE_SECONDS)
            except (nats.errors.Error, TimeoutError) as error:
                raise LostError from error
            self._take(message, found)
            while self._subscription.pending_msgs and len(found) < _BATCH:
                self._take(await self._next(REQUEST_SECONDS), found)
        return found

    async def _next(self, seconds: float) -> Msg:
        """Raises what the library raises, TimeoutError among it."""
        assert self._subscription is not None
        message = await self._subscription.next_msg(timeout=seconds)
        # the library waits by asyncio.wait_for, which before Python 3.12 forgets a cancellation that comes with a
        # message
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError
        return message

    async def _pull(self) -> None:
        assert self._subscription is not None
        if self._epoch != self._link.epoch or not self._link.up.is_set():
            raise LostError
        asked = {"batch": _BATCH, "expires": int(_EXPIRES_SECONDS * 1e9)}
        try:
            await self._link.nc.publish(
                f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}",
                json.dumps(asked).encode(),
                reply=self._subscription.subject,
            )
        except nats.errors.Error as error:
            raise LostError from error
        self._asked = _BATCH

    def _take(self, message: Msg, found: list[Stored]) -> None:
        status = (message.headers or {}).get("Status")
        if status is not None and not message.reply:
            if status in ("408", "404"):  # nothing (more) came
                self._asked = 0
                return
            raise LostError
        if message.metadata.sequence.consumer != self._seen + 1:
            raise LostError
        self._seen += 1
        self._asked -= 1
        found.append(received(message))


async def everything(
    link: Link,
    stream: str,
    subject: str,
    *,
    after: int | None,
    headers_only: bool = False,
    limit: int | None = None,
) -> list[Stored]:
    """What there is now. `after` as Reader's. Raises FeedError."""
    while True:
        found: list[Stored] = []
        try:
            async with Reader(link, stream, subject, after=after, headers_only=headers_only) as reader:
                wanted = reader.pending if limit is None else min(limit, reader.pending)
                while len(found) < wanted:
                    found += await reader.batch()
            return found[:wanted]
        except LostError:
            await link.pause()


async def follow(
    link: Link,
    stream: str,
    subject: str,
    *,
    after: int | None,
    begun: Callable[[int], Awaitable[None]] | None = None,
) -> AsyncIterator[list[Stored]]:
    """Messages as they come, for ever: in order, each once, none missed, whatever becomes of the connection.

    `begun` is told how many there are at first. Raises FeedError.
    """
    seen = after
    while True:
        try:
            async with Reader(link, stream, subject, after=seen) as reader:
                if begun is not None:
                    await begun(reader.pending)
                    begun = None
                if seen is None and reader.pending == 0:
                    seen = 0  # nothing to begin with: whatever comes later is new
                while True:
                    batch = await reader.batch()
                    seen = batch[-1].sequence
                    yield batch
        except LostError:
            await link.pause()
