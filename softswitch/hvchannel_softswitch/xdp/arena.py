# SPDX-License-Identifier: Apache-2.0
"""The arena as this process writes it: one piece of memory, seen as numbers of 16, 32 and 64 bits.

A store to `u32` or `u64` is one aligned store of the whole number, which is what publishes a record: the program sees
the old number or the new one. Stores of `pack_into` go byte by byte, and are for records that nothing leads to yet. A
record is complete before a later store publishes it as long as the CPU keeps the order of stores, as x86-64 does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class ArenaError(Exception):
    """Memory that cannot be, or is not, the arena of the program at hand."""


class Arena:
    """Views on writable memory: `u16[i]` is the number at byte `2 * i`, `u32[i]` at `4 * i`, `u64[i]` at `8 * i`.
    `buffer` is all of it, in bytes."""

    def __init__(self, memory: WriteableBuffer, size: int) -> None:
        """`size`: what the layout needs. Raises ArenaError for memory that is read-only or too small."""
        self.buffer = memoryview(memory).cast("B")
        if self.buffer.readonly:
            raise ArenaError("the memory of an arena must be writable")
        if len(self.buffer) < size:
            raise ArenaError(f"the arena needs {size} bytes, the memory has {len(self.buffer)}")
        self.buffer = self.buffer[: len(self.buffer) & ~7]
        self.u16 = self.buffer.cast("H")
        self.u32 = self.buffer.cast("I")
        self.u64 = self.buffer.cast("Q")

    def words(self, offset: int, count: int) -> Sequence[int]:
        """`count` numbers of 64 bits from byte `offset` on."""
        return self.u64[offset // 8 : offset // 8 + count].tolist()

    def release(self) -> None:
        """Lets go of the memory; the arena is of no use any more."""
        for view in (self.u16, self.u32, self.u64, self.buffer):
            view.release()
