# SPDX-License-Identifier: Apache-2.0
"""Meters: records of a pool, which packets take tokens from. A new configuration is a new record, so that no packet
meets a rate of the old one with a burst of the new."""

from __future__ import annotations

import struct
from collections.abc import Callable

from hvchannel_softswitch.engine import EngineError, MeterConfig
from hvchannel_softswitch.xdp.arena import Arena, ArenaError
from hvchannel_softswitch.xdp.grace import Grace, Slots
from hvchannel_softswitch.xdp.layout import (
    METER_CIR,
    METER_COMMITTED_BURST,
    METER_PEAK_BURST,
    METER_PIR,
    METER_SIZE,
    NEVER,
    MeterLayout,
)

_NANO = 1_000_000_000
_MAX_BURST = NEVER // _NANO
_MAX_RATE = (1 << 64) - 1
_RECORD = struct.Struct("<II9Q")
assert _RECORD.size == METER_SIZE


class MeterPool:
    """The records of one meter, by number; 0 stands for a meter that is always green."""

    def __init__(self, arena: Arena, pool: int, records: int, grace: Grace, clock: Callable[[], int]) -> None:
        """`pool` is the offset of record 0; `clock` is the one that the program goes by."""
        self._arena = arena
        self._pool = pool
        self._records = records
        self._clock = clock
        self._slots = Slots(records, grace)

    def make(self, config: MeterConfig | None) -> int:
        """A record with full buckets, for the caller to publish. Raises EngineError for a rate or a burst beyond what
        a record can hold."""
        if config is None:
            return 0
        check_config(config)
        committed, peak = config.cburst * _NANO, config.pburst * _NANO
        record = self._slots.take()
        _RECORD.pack_into(
            self._arena.buffer,
            self._pool + record * METER_SIZE,
            0,
            0,
            self._clock(),
            committed,
            peak,
            config.cir,
            config.pir,
            committed,
            peak,
            _fill(committed, config.cir),
            _fill(peak, config.pir),
        )
        return record

    def config(self, record: int) -> MeterConfig | None:
        """As it was given."""
        if not record:
            return None
        at = self._pool + record * METER_SIZE
        cir, cburst, pir, pburst = (
            self._arena.u64[(at + offset) // 8]
            for offset in (METER_CIR, METER_COMMITTED_BURST, METER_PIR, METER_PEAK_BURST)
        )
        return MeterConfig(cir, cburst // _NANO, pir, pburst // _NANO)

    def retire(self, record: int) -> None:
        """Nothing leads to the record any more."""
        if record:
            self._slots.retire(record)

    def adopt(self, used: set[int]) -> None:
        """All other records are free. Raises ArenaError for one that the pool does not have."""
        used.discard(0)
        if used and max(used) >= self._records:
            raise ArenaError(f"meter record {max(used)} is not one of the pool's {self._records}")
        self._slots.adopt(used)


class IndirectMeter:
    """A meter with cells, each of which names a record."""

    def __init__(self, arena: Arena, layout: MeterLayout, grace: Grace, clock: Callable[[], int]) -> None:
        self.size = layout.size
        self._u32 = arena.u32
        self._cells = layout.cells // 4
        self._pool = MeterPool(arena, layout.pool, layout.records, grace, clock)

    def read(self, index: int) -> MeterConfig | None:
        """None: always green."""
        return self._pool.config(self._u32[self._cells + index])

    def write(self, index: int, config: MeterConfig | None) -> None:
        """The buckets start full."""
        at, record = self._cells + index, self._pool.make(config)
        before, self._u32[at] = self._u32[at], record
        self._pool.retire(before)

    def adopt(self) -> None:
        """Takes the cells as they are. Raises ArenaError."""
        self._pool.adopt({self._u32[self._cells + index] for index in range(self.size)})


def check_config(config: MeterConfig) -> None:
    """Raises EngineError for a rate or a burst that a record cannot hold."""
    for name, value, most in (
        ("cir", config.cir, _MAX_RATE),
        ("cburst", config.cburst, _MAX_BURST),
        ("pir", config.pir, _MAX_RATE),
        ("pburst", config.pburst, _MAX_BURST),
    ):
        if not 0 <= value <= most:
            raise EngineError(f"{name} {value} of a meter is not valid (valid: 0 to {most})")


def _fill(burst: int, rate: int) -> int:
    """Nanoseconds after which an empty bucket is full: the first at which time times rate is no less than it holds."""
    return NEVER if not rate and burst else -(-burst // rate) if rate else 0
