# SPDX-License-Identifier: Apache-2.0
"""What one session still has to send, and what it has sent but not heard of: bounded,
whatever the feed holds."""

import asyncio
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from hvchannel_daemons import limits
from hvchannel_daemons.feed import Document

WINDOW_DOCUMENTS: Final = limits.GROUP_MEMBERS
WINDOW_BYTES: Final = 8 * limits.MIB
_RETRY_SECONDS: Final = 2.0
_BATCH_BYTES: Final = limits.MIB


Unit = tuple[str, ...]
"""Keys that were sent together and, when the guest could not store them, are sent together again."""


@dataclass(slots=True)
class _Sent:
    size: int
    unit: Unit
    put_unix_ns: int
    at: float = math.inf  # loop time at which the last byte was sent


def batches(documents: list[Document]) -> Iterator[list[Document]]:
    """The documents in order, as many at once as may be in memory; a document of several pieces comes alone."""
    batch: list[Document] = []
    size = 0
    for document in documents:
        large = document.size > limits.PIECE_BYTES
        if batch and (large or size + document.size > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        if large:
            yield [document]
        else:
            batch.append(document)
            size += document.size
    if batch:
        yield batch


class Outbox:
    """`wake` is set whenever the sending task should look again."""

    def __init__(self, wake: asyncio.Event, held: Mapping[str, int], backlog_until: int) -> None:
        """`held`: the guest's inventory. `backlog_until`: the feed's position when the session began."""
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._held = dict(held)
        self._backlog_until = backlog_until
        self._backlog: set[str] = set()  # keys of the backlog that the guest has not answered finally
        self._sent: dict[tuple[str, int], _Sent] = {}
        self._bytes = 0
        self._room = asyncio.Event()
        self._retry: dict[Unit, asyncio.TimerHandle] = {}
        self._retry_now: set[Unit] = set()
        self.position = 0  # of the last document that was looked at

    def close(self) -> None:
        for timer in self._retry.values():
            timer.cancel()

    def lacks(self, document: Document) -> bool:
        """Whether the guest lacks the document, at or beyond `position`."""
        if document.position > self._backlog_until:
            return True  # it came after the inventory: its revision is beyond what the guest holds
        held = self._held.get(document.key, 0)
        return held < document.revision and not (document.deleted and held == 0)

    def wanted(self, document: Document) -> bool:
        """Whether the guest lacks the document; moves `position` on to it."""
        lacking = self.lacks(document)
        self.position = document.position
        if document.position <= self._backlog_until:
            self._held.pop(document.key, None)
            if lacking:
                self._backlog.add(document.key)
        return lacking

    async def room(self, size: int, documents: int = 1) -> None:
        """Waits until `size` more bytes in so many documents may be under way; more than the window go alone."""
        while self._sent and (
            len(self._sent) + documents > WINDOW_DOCUMENTS or self._bytes + size > WINDOW_BYTES
        ):
            self._room.clear()
            await self._room.wait()

    def begun(self, document: Document, unit: Unit = ()) -> None:
        """`unit`: what it goes together with."""
        self.abandoned(document)  # should it be on its way already
        self._sent[document.key, document.revision] = _Sent(
            document.size, unit or (document.key,), document.put_unix_ns
        )
        self._bytes += document.size

    def sent(self, document: Document) -> None:
        """The whole of it; the guest may have answered already."""
        sent = self._sent.get((document.key, document.revision))
        if sent is not None:
            sent.at = self._loop.time()

    def abandoned(self, document: Document) -> None:
        """A newer revision replaced it while it was being sent;
        that one comes later in the order of changes."""
        self._free(document.key, document.revision)

    def is_under_way(self, key: str, revision: int) -> bool:
        return (key, revision) in self._sent

    def put_unix_ns(self, key: str, revision: int) -> int:
        """When the control plane put what is under way. Raises KeyError."""
        return self._sent[key, revision].put_unix_ns

    def answered(self, key: str, revision: int, *, retry: bool) -> None:
        """The guest has answered; with `retry` the key, and what went with it, is due again after a while."""
        sent = self._free(key, revision)
        if retry:
            unit = sent.unit if sent else (key,)
            if unit not in self._retry:
                self._retry[unit] = self._loop.call_later(_RETRY_SECONDS, self._due, unit)
        else:  # nothing older than what was wanted is ever sent
            self._backlog.discard(key)
        if self.caught_up:
            self._wake.set()

    def take_due(self) -> set[Unit]:
        """Whose time for another try has come; each is handed out once."""
        due, self._retry_now = self._retry_now, set()
        return due

    @property
    def caught_up(self) -> bool:
        """The guest has given its final answer to all that was wanted when the session began."""
        return self.position >= self._backlog_until and not self._backlog

    def passed(self, position: int) -> None:
        """There is nothing for this VIF up to `position`."""
        self.position = max(self.position, position)

    def oldest(self) -> tuple[str, int, float] | None:
        """(key, revision, seconds since) of what has been waiting longest for its ack."""
        if not self._sent:
            return None
        (key, revision), sent = next(iter(self._sent.items()))
        return key, revision, self._loop.time() - sent.at

    def _free(self, key: str, revision: int) -> _Sent | None:
        sent = self._sent.pop((key, revision), None)
        if sent is not None:
            self._bytes -= sent.size
        self._room.set()
        return sent

    def _due(self, unit: Unit) -> None:
        del self._retry[unit]
        self._retry_now.add(unit)
        self._wake.set()
