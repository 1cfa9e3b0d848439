# SPDX-License-Identifier: Apache-2.0
"""Counters: each CPU has a cell of its own, and so has the control plane, which writes to no other while packets may
count there."""

from __future__ import annotations

from hvchannel_softswitch.engine import CounterData
from hvchannel_softswitch.xdp.arena import Arena
from hvchannel_softswitch.xdp.layout import CELL, Layout
from hvchannel_softswitch.xdp.packing import WORD_MASK

_STEP = CELL // 8


class Cells:
    """The cells of one counter."""

    def __init__(self, arena: Arena, layout: Layout, offset: int) -> None:
        """`offset` is the counter's within the block of a CPU."""
        self._u64 = arena.u64
        self._starts = [
            (layout.cpus + cpu * layout.cpu_stride + offset) // 8 for cpu in range(layout.cpu_count + 1)
        ]
        self._own = self._starts[-1]

    def read(self, index: int) -> CounterData:
        """What packets counted, and what was set."""
        u64, at = self._u64, index * _STEP
        packets = octets = 0
        for start in self._starts:
            packets += u64[start + at]
            octets += u64[start + at + 1]
        return CounterData(packets & WORD_MASK, octets & WORD_MASK)

    def add(self, index: int, packets: int, octets: int) -> None:
        """On top of what is counted; the numbers may be negative."""
        u64, at = self._u64, self._own + index * _STEP
        u64[at] = u64[at] + packets & WORD_MASK
        u64[at + 1] = u64[at + 1] + octets & WORD_MASK

    def write(self, index: int, data: CounterData) -> None:
        """Whatever packets have counted, the sum is `data` now."""
        now = self.read(index)
        self.add(index, data.packets - now.packets, data.bytes - now.bytes)

    def clear(self, index: int) -> None:
        """Of a cell that packets do not use."""
        u64, at = self._u64, index * _STEP
        for start in self._starts:
            u64[start + at] = u64[start + at + 1] = 0
