# SPDX-License-Identifier: Apache-2.0
"""Registers: cells of whole words. A cell of one word changes at once; one of several, word by word, as packets see
it too."""

from __future__ import annotations

from hvchannel_softswitch.xdp.arena import Arena
from hvchannel_softswitch.xdp.layout import RegisterLayout
from hvchannel_softswitch.xdp.packing import WORD, WORD_MASK


class LiveRegister:
    """The cells of one register."""

    def __init__(self, arena: Arena, layout: RegisterLayout) -> None:
        self.size = layout.size
        self._u64 = arena.u64
        self._start = layout.offset // 8
        self._words = layout.words
        self._mask = (1 << layout.width) - 1

    def read(self, index: int) -> int:
        """The cell's value."""
        start = self._start + index * self._words
        return sum(self._u64[start + word] << WORD * word for word in range(self._words)) & self._mask

    def write(self, index: int, value: int) -> None:
        """Bits beyond the register's width are cut off."""
        start, value = self._start + index * self._words, value & self._mask
        for word in range(self._words):
            self._u64[start + word] = value >> WORD * word & WORD_MASK
