# SPDX-License-Identifier: Apache-2.0
"""Digests from the data path to the primary (section "DigestEntry"): bundled into lists, each message sent
once until its list is acknowledged or its acknowledgement is overdue."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator
from typing import TypeAlias

from finsy.proto import p4r

from hvchannel_softswitch.p4runtime.digest_types import Digest

DigestSender: TypeAlias = Callable[[p4r.DigestList], bool]
"""Sends a list to the primary; False when there is none."""

MAX_LIST = 256
"""The list size where the client sets no limit (max_list_size 0)."""

MAX_UNACKED = 65536
"""Messages remembered as sent but not acknowledged. The cache only thins traffic out; a full one forgets
its oldest list."""

_NANOSECONDS = 1e-9


class DigestQueue:
    """One digest's buffer and its cache of what was sent and not yet acknowledged. Off until `enable`."""

    def __init__(self, digest: Digest, send: DigestSender) -> None:
        self.digest = digest
        self.config: p4r.DigestEntry.Config | None = None
        self._send = send
        self._buffer: dict[tuple[int, ...], None] = {}
        self._unacked: dict[int, tuple[tuple[int, ...], ...]] = {}
        self._expiries: dict[int, asyncio.TimerHandle] = {}
        self._sent: set[tuple[int, ...]] = set()
        self._flush_timer: asyncio.TimerHandle | None = None
        self._list_ids: Iterator[int] = itertools.count(1)

    def enable(self, config: p4r.DigestEntry.Config) -> None:
        """Starts sending, or changes the parameters; what is buffered is sent at the latest by the new
        timeout."""
        self.config = config
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        if self._buffer:
            self._flush_when_due()

    def disable(self) -> None:
        """Stops sending and forgets what is buffered and what awaits an acknowledgement."""
        self.config = None
        self._buffer.clear()
        self._sent.clear()
        self._unacked.clear()
        for timer in self._expiries.values():
            timer.cancel()
        self._expiries.clear()
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None

    def add(self, values: tuple[int, ...]) -> None:
        """One message from the data path; dropped when it is already on its way or the digest is off."""
        if self.config is None or values in self._buffer or values in self._sent:
            return
        self._buffer[values] = None
        self._flush_when_due()

    def ack(self, list_id: int) -> None:
        """The primary has acted on a list: its messages may be sent again. Late and repeated ones are
        harmless."""
        timer = self._expiries.pop(list_id, None)
        if timer is not None:
            timer.cancel()
        self._sent.difference_update(self._unacked.pop(list_id, ()))

    def _flush_when_due(self) -> None:
        assert self.config is not None
        if len(self._buffer) >= (self.config.max_list_size or MAX_LIST) or self.config.max_timeout_ns == 0:
            self._flush()
        elif self._flush_timer is None:
            delay = self.config.max_timeout_ns * _NANOSECONDS
            self._flush_timer = asyncio.get_running_loop().call_later(delay, self._flush)

    def _flush(self) -> None:
        assert self.config is not None
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        limit = self.config.max_list_size or MAX_LIST
        pending = list(self._buffer)
        self._buffer.clear()
        for start in range(0, len(pending), limit):
            self._send_list(tuple(pending[start : start + limit]))

    def _send_list(self, messages: tuple[tuple[int, ...], ...]) -> None:
        assert self.config is not None
        list_id = next(self._list_ids)
        sent = self._send(
            p4r.DigestList(
                digest_id=self.digest.id,
                list_id=list_id,
                data=[self.digest.message(values) for values in messages],
                timestamp=time.time_ns(),
            )
        )
        # Without a primary the list is lost (best effort), so its messages must stay free to be learnt again.
        if not sent or self.config.ack_timeout_ns == 0:
            return
        while self._unacked and len(self._sent) + len(messages) > MAX_UNACKED:
            self.ack(next(iter(self._unacked)))
        self._unacked[list_id] = messages
        self._sent.update(messages)
        delay = self.config.ack_timeout_ns * _NANOSECONDS
        self._expiries[list_id] = asyncio.get_running_loop().call_later(delay, self.ack, list_id)
