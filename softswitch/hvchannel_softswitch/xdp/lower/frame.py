# SPDX-License-Identifier: Apache-2.0
"""The function being written, and what every stage needs of it: the builder, variables, the frame's bounds, the
arena."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from llvmlite import ir

from hvchannel_softswitch.model import Program
from hvchannel_softswitch.xdp.layout import Layout
from hvchannel_softswitch.xdp.lower.kernel import I8, I32, I64, POINTER, Kernel, MapRef, i64
from hvchannel_softswitch.xdp.packing import Packing

ENTRY = "packet"
"""The function's name."""

_DATA, _DATA_END, _DATA_META, _INGRESS_IFINDEX, _EGRESS_IFINDEX = 0, 4, 8, 12, 20


class _VolatileLoad(ir.LoadInstr):  # type: ignore[misc] # llvmlite has no types
    """A load that llvmlite has no word for."""

    def descr(self, buf: list[str]) -> None:
        """The instruction's text."""
        super().descr(buf)
        buf[-1] = buf[-1].replace("load ", "load volatile ", 1)


class Frame:
    """Everything about one function. Variables are stack slots that LLVM turns into registers."""

    def __init__(self, program: Program, layout: Layout, *, padding: int = 0) -> None:
        """`padding`: bytes behind each frame that are not its own."""
        self.program = program
        self.layout = layout
        self.padding = padding
        self.module = ir.Module(program.name)
        self.module.triple = "bpfel"
        self.function = ir.Function(self.module, ir.FunctionType(I32, [POINTER]), ENTRY)
        self.function.section = "xdp"
        self.context = self.function.args[0]
        self._entry = self.function.append_basic_block("entry")
        begin = self.function.append_basic_block("begin")
        self._slots = ir.IRBuilder(self._entry)
        self._slots.position_at_start(self._entry)
        self.b = ir.IRBuilder(begin)
        self.kernel = Kernel(self.module, self.b)
        self._begin = begin
        self.drop = self.block("drop")
        self.position = self.variable("position", I64)
        self.data = self.variable("data", POINTER)
        self.data_end = self.variable("data_end", POINTER)
        self.length = self.variable("length", I64)
        self.cpu_block = self.variable("cpu_block", POINTER)

    def finish(self) -> None:
        """The function is written."""
        self._slots.branch(self._begin)

    # --- blocks and variables ---------------------------------------------------------------------------------------

    def block(self, name: str) -> ir.Block:
        """A new block, at the end of the function."""
        return self.function.append_basic_block(name)

    def variable(self, name: str, kind: ir.Type, initial: ir.Constant | None = None) -> ir.Value:
        """A variable of the packet, at first `initial`."""
        slot = self._slots.alloca(kind, name=name)
        if initial is not None:
            self._slots.store(initial, slot)
        return slot

    def get(self, variable: ir.Value, kind: ir.Type = I64) -> ir.Value:
        """A variable's value."""
        return self.b.load(variable, typ=kind)

    @contextmanager
    def when(self, condition: ir.Value, *, likely: bool | None = None) -> Iterator[None]:
        """What is written inside runs if `condition` holds."""
        with self.b.if_then(condition, likely=likely):
            yield

    def here(self, block: ir.Block) -> None:
        """Goes on writing in `block`; where the present one does not end yet, it leads there."""
        if not self.b.block.is_terminated:
            self.b.branch(block)
        self.b.position_at_end(block)

    # --- memory -----------------------------------------------------------------------------------------------------

    def at(self, pointer: ir.Value, offset: ir.Value | int) -> ir.Value:
        """An address `offset` bytes further on."""
        if isinstance(offset, int):
            if offset == 0:
                return pointer
            offset = i64(offset)
        return self.b.gep(pointer, [offset], source_etype=I8)

    def load(self, pointer: ir.Value, offset: ir.Value | int, kind: ir.IntType) -> ir.Value:
        """A little-endian number."""
        return self.b.load(self.at(pointer, offset), typ=kind, align=kind.width // 8)

    def reload(self, pointer: ir.Value, offset: int, kind: ir.IntType) -> ir.Value:
        """A little-endian number, read anew each time: neither LLVM nor the verifier knows what it is."""
        value = _VolatileLoad(self.b.block, self.at(pointer, offset), typ=kind)
        value.align = kind.width // 8
        self.b._insert(value)  # as its own `load` does
        return value

    def store(self, value: ir.Value, pointer: ir.Value, offset: ir.Value | int = 0) -> None:
        """A little-endian number."""
        self.b.store(value, self.at(pointer, offset), align=value.type.width // 8)

    def arena(self, offset: ir.Value | int = 0) -> ir.Value:
        """An address in the arena."""
        return self.at(self.kernel.map_value(MapRef.ARENA), offset)

    def opaque(self, value: ir.Value) -> ir.Value:
        """The same 64 bits, of which LLVM knows nothing: it would make a branch of a product with a single bit."""
        kind = ir.FunctionType(I64, [I64])
        return self.b.asm(kind, "", "=r,0", [value], side_effect=False)

    def widen(self, value: ir.Value) -> ir.Value:
        """As 64 bits, unsigned."""
        return value if value.type == I64 else self.b.zext(value, I64)

    def packed(self, values: Sequence[ir.Value], packing: Packing) -> list[ir.Value]:
        """The words that hold these numbers, each of its field's width."""
        words: list[ir.Value | None] = [None] * packing.words
        for value, pieces in zip(values, packing.pieces, strict=True):
            for piece in pieces:
                bits = self.b.lshr(value, ir.Constant(value.type, piece.source)) if piece.source else value
                bits = resized(self.b, resized(self.b, bits, piece.width), 64)
                if piece.shift:
                    bits = self.b.shl(bits, i64(piece.shift))
                before = words[piece.word]
                words[piece.word] = bits if before is None else self.b.or_(before, bits)
        return [i64(0) if word is None else word for word in words]

    def unpacked(self, pointer: ir.Value, offset: int, packing: Packing, field: int) -> ir.Value:
        """A field out of packed words in memory."""
        width = packing.widths[field]
        value: ir.Value = ir.Constant(ir.IntType(width), 0)
        for piece in packing.pieces[field]:
            bits = self.load(pointer, offset + 8 * piece.word, I64)
            if piece.shift:
                bits = self.b.lshr(bits, i64(piece.shift))
            bits = resized(self.b, resized(self.b, bits, piece.width), width)
            if piece.source:
                bits = self.b.shl(bits, ir.Constant(bits.type, piece.source))
            value = self.b.or_(value, bits)
        return value

    # --- the frame --------------------------------------------------------------------------------------------------

    def load_bounds(self) -> None:
        """Reads the frame's bounds from the context, at the start and whenever they have moved."""
        for field, variable in ((_DATA, self.data), (_DATA_END, self.data_end)):
            address = self.b.zext(self.b.load(self.at(self.context, field), typ=I32, align=4), I64)
            self.b.store(self.b.inttoptr(address, POINTER), variable)

    def frame_length(self) -> ir.Value:
        """The frame's length as it is now."""
        whole = self.kernel.frame_length(self.context)
        return self.b.sub(whole, i64(self.padding)) if self.padding else whole

    def metadata_start(self) -> ir.Value:
        """The address of what precedes the frame."""
        address = self.b.zext(self.b.load(self.at(self.context, _DATA_META), typ=I32, align=4), I64)
        return self.b.inttoptr(address, POINTER)

    def ingress_interface(self) -> ir.Value:
        """The index of the interface that the frame came in by."""
        return self.b.load(self.at(self.context, _INGRESS_IFINDEX), typ=I32, align=4)

    def egress_interface(self) -> ir.Value:
        """The index of the interface that a devmap sends the frame to."""
        return self.b.load(self.at(self.context, _EGRESS_IFINDEX), typ=I32, align=4)

    def in_frame(self, offset: ir.Value, size: int) -> tuple[ir.Value, ir.Value]:
        """The address `offset` bytes into the frame, and whether `size` bytes are there."""
        start = self.at(self.get(self.data, POINTER), offset)
        end = self.at(start, size)
        return start, self.b.icmp_unsigned("<=", end, self.get(self.data_end, POINTER))


def resized(b: ir.IRBuilder, value: ir.Value, width: int, *, signed: bool = False) -> ir.Value:
    """The number in `width` bits: cut off or extended."""
    have = value.type.width
    if have == width:
        return value
    kind = ir.IntType(width)
    if have > width:
        return b.trunc(value, kind)
    return b.sext(value, kind) if signed else b.zext(value, kind)
