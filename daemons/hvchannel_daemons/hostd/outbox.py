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

WINDOW_DOCUMENTS: Final = 256
WINDOW_BYTES: Final = 8 * limits.MIB
_RETRY_SECONDS: Final = 2.0
_GROUP_BYTES: Final = limits.MIB


@dataclass(slots=True)
class _Sent:
    size: int
    put_unix_ns: int
    at: float = math.inf  # loop time at which the last byte was sent


def together(documents: list[Document]) -> Iterator[list[Document]]:
    """The documents in order, in groups whose contents may be in memory at once; a document of several pieces is a
    group of its own."""
    group: list[Document] = []
    size = 0
    for document in documents:
        if group and size + document.size > _GROUP_BYTES:
            yield group
            group, size = [], 0
        group.append(document)
        size += document.size
        if document.size > limits.PIECE_BYTES:
            group.pop()
            if group:
                yield group
            yield [document]
            group, size = [], 0
    if group:
        yield group


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
        self._retry: dict[str, asyncio.TimerHandle] = {}
        self._retry_now: set[str] = set()
        self.position = 0  # of the last document that was looked at

    def close(self) -> None:
        for timer in self._retry.values():
            timer.cancel()

    def wanted(self, document: Document) -> bool:
        """Whether the guest lacks the document; moves `position` on to it."""
        self.position = document.position
        if document.position > self._backlog_until:
            return True  # it came after the inventory: its revision is beyond what the guest holds
        held = self._held.pop(document.key, 0)
        lacking = held < document.revision and not (document.deleted and held == 0)
        if lacking:
            self._backlog.add(document.key)
        return lacking

    async def room(self, size: int) -> None:
        """Waits until `size` more bytes may be under way; a document larger than the window goes alone."""
        while self._sent and (len(self._sent) >= WINDOW_DOCUMENTS or self._bytes + size > WINDOW_BYTES):
            self._room.clear()
            await self._room.wait()

    def begun(self, document: Document) -> None:
        self._sent[document.key, document.revision] = _Sent(document.size, document.put_unix_ns)
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
        """The guest has answered; with `retry` the key is due again after a while."""
        self._free(key, revision)
        if retry:
            if key not in self._retry:
                self._retry[key] = self._loop.call_later(_RETRY_SECONDS, self._due, key)
        elif not any(other == key for other, _ in self._sent):
            self._backlog.discard(key)
        if self.caught_up:
            self._wake.set()

    def take_due(self) -> set[str]:
        """Keys whose time for another try has come; each is handed out once."""
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

    def _free(self, key: str, revision: int) -> None:
        sent = self._sent.pop((key, revision), None)
        if sent is not None:
            self._bytes -= sent.size
        self._room.set()

    def _due(self, key: str) -> None:
        del self._retry[key]
        self._retry_now.add(key)
        self._wake.set()
