# SPDX-License-Identifier: Apache-2.0
"""Two-rate three-colour markers (RFC 2698 section 3), colour-blind; see `layout` for a meter's record."""

from __future__ import annotations

from llvmlite import ir

from hvchannel_softswitch.model import MeterUnit
from hvchannel_softswitch.xdp import layout
from hvchannel_softswitch.xdp.lower.frame import Frame
from hvchannel_softswitch.xdp.lower.kernel import I32, I64, i32, i64

GREEN, YELLOW, RED = 0, 1, 2

_TURNS = 32
"""How often a CPU looks whether another has let go of a meter. It then goes on without: a token may be spent twice, but
no packet waits for a CPU that its own hypervisor has stopped."""

_NANO = 1_000_000_000


class Meters:
    """Writes the running of a meter. `now` gives the packet's time."""

    def __init__(self, frame: Frame, now: ir.Value) -> None:
        self._f = frame
        self._b = frame.b
        self._now = now

    def colour(self, pool: int, records: int, record: ir.Value, unit: MeterUnit) -> ir.Value:
        """The packet's colour, in 64 bits, by record number `record` (32 bits; 0: green)."""
        f, b = self._f, self._b
        colour = f.variable("colour", I64)
        b.store(i64(GREEN), colour)
        with f.when(b.icmp_unsigned("!=", record, i32(0))):
            number = b.and_(f.widen(record), i64(records - 1))
            meter = f.at(f.arena(pool), b.mul(number, i64(layout.METER_SIZE)))
            self._lock(meter)
            b.store(self._run(meter, unit), colour)
            f.b.atomic_rmw("xchg", meter, i32(0), "seq_cst")
        return f.get(colour)

    def _lock(self, meter: ir.Value) -> None:
        f, b = self._f, self._b
        turn = f.variable("turn", I64)
        b.store(i64(0), turn)
        again, waited, locked = f.block("lock"), f.block("lock.wait"), f.block("locked")
        f.here(again)
        taken = b.atomic_rmw("xchg", meter, i32(1), "seq_cst")
        b.cbranch(b.icmp_unsigned("==", taken, i32(0)), locked, waited)
        b.position_at_end(waited)
        turns = b.add(f.get(turn), i64(1))
        b.store(turns, turn)
        b.cbranch(b.icmp_unsigned("<", turns, i64(_TURNS)), again, locked)
        b.position_at_end(locked)

    def _run(self, meter: ir.Value, unit: MeterUnit) -> ir.Value:
        f, b = self._f, self._b
        now = f.get(self._now)
        elapsed = b.sub(now, f.load(meter, layout.METER_LAST, I64))
        # Another CPU's packet may have been given a later time and come first.
        elapsed = b.select(b.icmp_signed("<", elapsed, i64(0)), i64(0), elapsed)
        f.store(now, meter, layout.METER_LAST)
        cost = b.mul(f.get(f.length) if unit is MeterUnit.BYTES else i64(1), i64(_NANO))
        committed = self._filled(
            meter,
            elapsed,
            layout.METER_COMMITTED,
            layout.METER_CIR,
            layout.METER_COMMITTED_BURST,
            layout.METER_COMMITTED_FILL,
        )
        peak = self._filled(
            meter,
            elapsed,
            layout.METER_PEAK,
            layout.METER_PIR,
            layout.METER_PEAK_BURST,
            layout.METER_PEAK_FILL,
        )
        red = b.icmp_unsigned("<", peak, cost)
        yellow = b.icmp_unsigned("<", committed, cost)
        f.store(b.select(red, peak, b.sub(peak, cost)), meter, layout.METER_PEAK)
        keeps = b.or_(red, yellow)
        f.store(b.select(keeps, committed, b.sub(committed, cost)), meter, layout.METER_COMMITTED)
        return b.select(red, i64(RED), b.select(yellow, i64(YELLOW), i64(GREEN)))

    def _filled(
        self, meter: ir.Value, elapsed: ir.Value, tokens: int, rate: int, burst: int, fill: int
    ) -> ir.Value:
        f, b = self._f, self._b
        most = f.load(meter, burst, I64)
        grown = b.add(f.load(meter, tokens, I64), b.mul(elapsed, f.load(meter, rate, I64)))
        capped = b.select(b.icmp_unsigned(">", grown, most), most, grown)
        full = b.icmp_unsigned(">=", elapsed, f.load(meter, fill, I64))
        return b.select(full, most, capped)


def meter_reference(frame: Frame, entry: ir.Value) -> ir.Value:
    """The number of the record of an entry's direct meter."""
    return frame.load(entry, layout.METER, I32)
