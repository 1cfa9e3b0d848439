# SPDX-License-Identifier: Apache-2.0
"""Who listens for attachments, and what each has not heard yet."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable

from hvchannel_control.api import control_pb2


class Watchers:
    """Hands every change to every listener. A slow one costs no more memory than two events per VIF."""

    def __init__(self) -> None:
        self._queues: set[_Queue] = set()
        self._closed = False

    def attached(self, vif: control_pb2.Vif) -> None:
        """Attached, or changed its state."""
        for queue in self._queues:
            queue.put(vif.vif_id, control_pb2.Event(attached=vif))

    def detached(self, vif_id: str) -> None:
        for queue in self._queues:
            queue.put(vif_id, control_pb2.Event(detached=vif_id))

    def close(self) -> None:
        """Ends every stream."""
        self._closed = True
        for queue in self._queues:
            queue.awake.set()

    async def watch(
        self, snapshot: Callable[[], Iterable[control_pb2.Vif]]
    ) -> AsyncIterator[control_pb2.Event]:
        """What is attached, then that this was all of it, then every change."""
        queue = _Queue()
        # The listener is known before the snapshot is taken, and nothing is awaited in between: no change is
        # missed.
        self._queues.add(queue)
        vifs = list(snapshot())
        try:
            for vif in vifs:
                yield control_pb2.Event(attached=vif)
            yield control_pb2.Event(synced=True)
            while True:
                await queue.awake.wait()
                for event in queue.take():
                    yield event
                if self._closed:
                    return
        finally:
            self._queues.discard(queue)


class _Queue:
    """Per VIF, in the order of its last change: the last state, after a detachment if there was one before
    it."""

    def __init__(self) -> None:
        self.awake = asyncio.Event()
        self._pending: dict[str, list[control_pb2.Event]] = {}

    def put(self, vif_id: str, event: control_pb2.Event) -> None:
        before = self._pending.pop(vif_id, [])
        keeps_detachment = before and before[0].HasField("detached") and event.HasField("attached")
        self._pending[vif_id] = [before[0], event] if keeps_detachment else [event]
        self.awake.set()

    def take(self) -> list[control_pb2.Event]:
        self.awake.clear()
        events = [event for events in self._pending.values() for event in events]
        self._pending.clear()
        return events
