# SPDX-License-Identifier: Apache-2.0
"""The deparser: the frame's start moves to where the headers that are sent need it, and those are written that
changed or moved. The payload stays where it is."""

from __future__ import annotations

from llvmlite import ir

from hvchannel_softswitch.model.headers import Header
from hvchannel_softswitch.xdp.lower.frame import Frame
from hvchannel_softswitch.xdp.lower.kernel import I1, I32, I64, POINTER, i64
from hvchannel_softswitch.xdp.lower.statements import NO_CUT, Statements
from hvchannel_softswitch.xdp.lower.storage import Storage

_MAX_HEADERS = 4096
"""Bytes of headers that no packet has more of; the verifier must know a bound."""


class Deparser:
    """Writes the deparser."""

    def __init__(self, frame: Frame, storage: Storage, statements: Statements) -> None:
        self._f = frame
        self._b = frame.b
        self._s = storage
        self._statements = statements
        self._headers = [frame.program.headers[name] for name in frame.program.deparse]

    def write(self) -> None:
        """The frame as it goes out; one that cannot be had, for want of room in front of it, is dropped."""
        f, b = self._f, self._b
        total: ir.Value = i64(0)
        for header in self._headers:
            total = b.add(total, b.mul(self._s.flag(header.name), i64(header.type.width // 8)))
        delta = b.sub(f.get(f.position), total)
        with f.when(b.icmp_signed("!=", delta, i64(0))):
            refused = f.kernel.adjust_head(f.context, b.trunc(delta, I32))
            self._drop_if(b.icmp_signed("!=", refused, i64(0)))
        f.load_bounds()
        # In memory, for the same reason as the position after the parser.
        block, kept = f.get(f.cpu_block, POINTER), f.layout.cells
        f.store(i64(0), block, kept)
        for header in self._headers:
            with f.when(self._s.valid(header.name)):
                place = f.reload(block, kept, I64)
                self._put(header, place, delta)
                f.store(b.add(place, i64(header.type.width // 8)), block, kept)
        self._truncate()

    def _drop_if(self, condition: ir.Value) -> None:
        going_on = self._f.block("going.on")
        self._b.cbranch(condition, self._f.drop, going_on)
        self._b.position_at_end(going_on)

    def _put(self, header: Header, place: ir.Value, delta: ir.Value) -> None:
        """A header to its place in the frame, unless it stands there already as it is."""
        f, b, size = self._f, self._b, header.type.width // 8
        moved: ir.Value = ir.Constant(I1, 1)
        if header.name not in self._s.written:
            before = b.sub(self._s.place(header.name), i64(1))
            moved = b.icmp_unsigned("!=", b.sub(before, delta), place)
        with f.when(moved):
            self._drop_if(b.icmp_unsigned(">", place, i64(_MAX_HEADERS)))
            to, there = f.in_frame(place, size)
            self._drop_if(b.not_(there))
            self._s.copy_bytes(to, self._s.bytes(header.name), size)

    def _truncate(self) -> None:
        f, b = self._f, self._b
        if not self._statements.truncates:
            return
        cut = f.get(self._statements.cut)
        length = f.frame_length()
        positive = b.select(b.icmp_signed("<", cut, i64(0)), i64(0), cut)
        with f.when(b.and_(b.icmp_signed("!=", cut, i64(NO_CUT)), b.icmp_unsigned("<", positive, length))):
            refused = f.kernel.adjust_tail(f.context, b.trunc(b.sub(positive, length), I32))
            self._drop_if(b.icmp_signed("!=", refused, i64(0)))
