# SPDX-License-Identifier: Apache-2.0
"""Traced packets that are left for their replicas: told of when the last replica's run is over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from hvchannel_softswitch.xdp.replication import SLOTS
from hvchannel_softswitch.xdp.reports import PROBE_SLOT, Record

Steps: TypeAlias = list[Record | tuple[str, tuple[int, ...]]]
"""What a packet's runs told, in order; pairs are digests."""

_Place: TypeAlias = tuple[int, int]


@dataclass(slots=True)
class _Left:
    steps: Steps
    missing: int


class Waiting:
    """By CPU and record. One whose replicas do not all come, as their ports went away, waits until its record is used
    again, or for `flush`."""

    def __init__(self, tell: Callable[[Steps], None]) -> None:
        self._tell = tell
        self._left: dict[_Place, _Left] = {}

    def leave(self, steps: Steps, cpu: int, slot: int, replicas: int) -> None:
        """A packet's run ended by leaving it for so many replicas."""
        place = _place(cpu, slot)
        before = self._left.pop(place, None)
        if before is not None:
            self._tell(before.steps)
        if replicas:
            self._left[place] = _Left(steps, replicas)
        else:
            self._tell(steps)

    def steps(self, cpu: int, slot: int) -> Steps | None:
        """Those to which a replica of the packet adds its own, if it is known here."""
        left = self._left.get(_place(cpu, slot))
        return None if left is None else left.steps

    def ended(self, steps: Steps) -> None:
        """The run of a replica that added to these is over."""
        for place, left in self._left.items():
            if left.steps is steps:
                left.missing -= 1
                if not left.missing:
                    del self._left[place]
                    self._tell(steps)
                return

    def flush(self) -> None:
        """Tells of all."""
        left, self._left = self._left, {}
        for one in left.values():
            self._tell(one.steps)


def _place(cpu: int, slot: int) -> _Place:
    return (-1, 0) if slot >= PROBE_SLOT else (cpu, slot % SLOTS)
