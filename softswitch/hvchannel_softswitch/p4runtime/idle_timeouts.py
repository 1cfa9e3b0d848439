# SPDX-License-Identifier: Apache-2.0
"""IdleTimeoutNotification (section "Table Idle Timeout Notification"): what the data path reports idle in one turn
of the loop goes to the primary in one message."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from finsy.proto import p4r

from hvchannel_softswitch.engine import EntryKey
from hvchannel_softswitch.p4runtime.matches import encode_key
from hvchannel_softswitch.p4runtime.pipeline import Pipeline

MAX_ENTRIES = 1000
"""Of one message, which then stays far below the 4 MB that clients accept."""


class IdleNotifier:
    """Collects idle entries, and sends them as soon as the loop is free."""

    def __init__(
        self, running: Callable[[], Pipeline | None], send: Callable[[p4r.StreamMessageResponse], object]
    ) -> None:
        self._running = running
        self._send = send
        self._idle: list[tuple[str, EntryKey]] = []

    def add(self, table: str, key: EntryKey) -> None:
        """An entry was idle for its whole timeout."""
        if not self._idle:
            asyncio.get_running_loop().call_soon(self._flush)
        self._idle.append((table, key))

    def _flush(self) -> None:
        idle, self._idle = self._idle, []
        pipeline = self._running()
        if pipeline is None:
            return
        found = (_entry(pipeline, table, key) for table, key in idle)
        entries = [entry for entry in found if entry is not None]
        for start in range(0, len(entries), MAX_ENTRIES):
            notification = p4r.IdleTimeoutNotification(
                table_entry=entries[start : start + MAX_ENTRIES], timestamp=time.time_ns()
            )
            self._send(p4r.StreamMessageResponse(idle_timeout_notification=notification))


def _entry(pipeline: Pipeline, name: str, key: EntryKey) -> p4r.TableEntry | None:
    """None for an entry that is gone by now, with its program perhaps."""
    table = pipeline.program.tables_by_name.get(name)
    if table is None or pipeline.engine.entry(name, key) is None:
        return None
    cookies = pipeline.cookies_of(table.id, key)
    return p4r.TableEntry(
        table_id=table.id,
        match=encode_key(table, key),
        priority=key.priority,
        controller_metadata=cookies.controller_metadata,
        metadata=cookies.metadata,
        idle_timeout_ns=pipeline.engine.idle_timeout(name, key),
    )
