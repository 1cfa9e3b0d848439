# SPDX-License-Identifier: Apache-2.0
"""Headers and metadata while a packet is treated.

A header is in this CPU's block of the arena: copied there when it is extracted, and back when the packet leaves if it
was written or has to move. Its validity and its place are there too, where the kernel's verifier does not follow
them: it would otherwise walk the rest of the program once for every way through the parser.

Metadata are variables, one per field.
"""

from __future__ import annotations

from llvmlite import ir

from hvchannel_softswitch.model import UnsupportedProgram
from hvchannel_softswitch.model.headers import FieldType, Header, HeaderStack
from hvchannel_softswitch.xdp.layout import HEADER_BYTES, HEADER_PLACE, HEADER_VALID, header_room
from hvchannel_softswitch.xdp.lower.frame import Frame, resized
from hvchannel_softswitch.xdp.lower.kernel import I1, I8, I16, I32, I64, POINTER, i64

_PIECES = ((8, I64), (4, I32), (2, I16), (1, I8))


class Storage:
    """All headers, stacks and metadata of a packet."""

    def __init__(self, frame: Frame) -> None:
        self._f = frame
        self._b = frame.b
        self._program = frame.program
        self._fields: dict[tuple[str, str], ir.Value] = {}
        self._next: dict[str, ir.Value] = {}
        self.counts_length = "packet_length" in frame.program.standard
        self.packet_length = frame.variable("packet_length", I64, i64(0))
        self.written: set[str] = set()
        """Headers whose bytes may differ from those that were extracted."""

    def begin(self) -> None:
        """All headers invalid, their fields zero."""
        for header in self._program.headers.values():
            if header.metadata:
                continue
            if header.type.width % 8 or header.type.varbit is not None:
                what = "a varbit field" if header.type.varbit else f"{header.type.width} bits, no whole bytes"
                raise UnsupportedProgram(f"header {header.name!r} has {what}")
            room = self.room(header.name)
            self._f.store(i64(0), room)
            for offset in range(0, header.type.width // 8, 8):
                self._f.store(i64(0), room, HEADER_BYTES + offset)

    def room(self, header: str) -> ir.Value:
        """The address of a header's room in this CPU's block."""
        return self._f.at(self._f.get(self._f.cpu_block, POINTER), self._f.layout.headers[header])

    def room_size(self, header: str) -> int:
        """Bytes of that room."""
        return header_room(self._program.headers[header])

    def bytes(self, header: str) -> ir.Value:
        """The address of a header's bytes."""
        return self._f.at(self.room(header), HEADER_BYTES)

    # --- validity ---------------------------------------------------------------------------------------------------

    def valid(self, header: str) -> ir.Value:
        """Whether the header is valid; metadata always are."""
        if self._program.headers[header].metadata:
            return ir.Constant(I1, 1)
        return self._b.icmp_unsigned("!=", self.flag(header), i64(0))

    def flag(self, header: str) -> ir.Value:
        """The same as a 64 bit number, 0 or 1, to calculate with: eBPF has no conditional move, and each branch is one
        more for the verifier to follow."""
        return self._f.widen(self._f.reload(self.room(header), HEADER_VALID, I8))

    def _set_flag(self, header: str, value: ir.Value) -> None:
        self._f.store(resized(self._b, value, 8), self.room(header), HEADER_VALID)

    def place(self, header: str) -> ir.Value:
        """Its offset in the frame + 1, in 64 bits; 0 where it was not extracted."""
        return self._f.widen(self._f.reload(self.room(header), HEADER_PLACE, I16))

    def extracted(self, header: Header, pointer: ir.Value, position: ir.Value) -> None:
        """The header is at `pointer`, `position` bytes into the frame: copied, and valid from now on."""
        self.copy_bytes(self.bytes(header.name), pointer, header.type.width // 8)
        place = self._b.add(position, i64(1))
        self._f.store(resized(self._b, place, 16), self.room(header.name), HEADER_PLACE)
        self.mark_valid(header)

    def mark_valid(self, header: Header) -> None:
        """Valid, its bits as they are; the other members of its union invalid."""
        if header.metadata:
            return
        self._set_flag(header.name, ir.Constant(I1, 1))
        for peer in header.peers:
            self.set_invalid(self._program.headers[peer])

    def set_valid(self, header: Header) -> None:
        """Valid, and its fields zero if it was not."""
        if header.metadata:
            return
        self.written.add(header.name)
        with self._f.when(self._b.not_(self.valid(header.name))):
            for offset, kind in pieces(header.type.width // 8):
                self._f.store(ir.Constant(kind, 0), self.bytes(header.name), offset)
            self._resize(header, 1)
        self.mark_valid(header)

    def set_invalid(self, header: Header) -> None:
        """Invalid; its fields keep their values."""
        if header.metadata:
            return
        if self.counts_length:
            with self._f.when(self.valid(header.name)):
                self._resize(header, -1)
        self.vacate(header)

    def _resize(self, header: Header, sign: int) -> None:
        if self.counts_length:
            length = self._f.get(self.packet_length)
            self._b.store(self._b.add(length, i64(sign * header.type.width // 8)), self.packet_length)

    def vacate(self, header: Header) -> None:
        """Invalid, as what a stack is shifted by leaves behind."""
        self._set_flag(header.name, ir.Constant(I1, 0))

    # --- whole headers ----------------------------------------------------------------------------------------------

    def copy_bytes(self, to: ir.Value, origin: ir.Value, size: int) -> None:
        """Copies bytes that do not overlap."""
        for offset, kind in pieces(size):
            self._f.store(self._f.load(origin, offset, kind), to, offset)

    def copy(self, target: Header, value: Header) -> None:
        """All bits of a header from another of the same type; validity apart."""
        if target.metadata:
            for field in target.type.fields:
                self.write(target.name, field.name, self.read(value.name, field.name))
            return
        self.written.add(target.name)
        self.copy_bytes(self.bytes(target.name), self.bytes(value.name), target.type.width // 8)

    def move(self, target: Header, value: Header) -> None:
        """All bits and validity, as when a stack is shifted."""
        self.copy(target, value)
        self._set_flag(target.name, self.valid(value.name))

    # --- fields -----------------------------------------------------------------------------------------------------

    def read(self, header: str, field: str) -> ir.Value:
        """A field's bits, in its width."""
        owner = self._program.headers[header]
        if owner.metadata:
            return self._f.get(self._variable(owner, field), ir.IntType(owner.type.field(field).width))
        return self._from_wire(self.bytes(header), owner, owner.type.field(field))

    def write(self, header: str, field: str, value: ir.Value) -> None:
        """A field's bits, in its width."""
        owner = self._program.headers[header]
        if owner.metadata:
            self._b.store(value, self._variable(owner, field))
            return
        self.written.add(header)
        self._to_wire(self.bytes(header), owner, owner.type.field(field), value)

    def set_standard(self, name: str, value: ir.Value) -> None:
        """A field of simple_switch's standard metadata, where the program has it; `value` in any width."""
        field = self._program.standard.get(name)
        if field is not None:
            self.write(field.header, field.field, resized(self._b, value, field.width))

    def standard(self, name: str) -> ir.Value:
        """A field of simple_switch's standard metadata."""
        field = self._program.standard[name]
        return self.read(field.header, field.field)

    def _variable(self, header: Header, field: str) -> ir.Value:
        key = header.name, field
        if key not in self._fields:
            kind = ir.IntType(header.type.field(field).width)
            self._fields[key] = self._f.variable(f"{header.name}.{field}", kind, ir.Constant(kind, 0))
        return self._fields[key]

    def _from_wire(self, pointer: ir.Value, header: Header, field: FieldType) -> ir.Value:
        first, size, spare = _octets(header, field)
        value = self.big_endian(pointer, first, size)
        if spare:
            value = self._b.lshr(value, ir.Constant(value.type, spare))
        return resized(self._b, value, field.width)

    def big_endian(self, pointer: ir.Value, first: int, size: int) -> ir.Value:
        """`size` bytes as a number, the first the most significant."""
        whole = ir.IntType(8 * size)
        value: ir.Value | None = None
        for offset, kind in pieces(size):
            part = self._f.load(pointer, first + offset, kind)
            part = resized(self._b, self._swapped(part), whole.width)
            shift = 8 * (size - offset) - kind.width
            if shift:
                part = self._b.shl(part, ir.Constant(whole, shift))
            value = part if value is None else self._b.or_(value, part)
        assert value is not None
        return value

    def _to_wire(self, pointer: ir.Value, header: Header, field: FieldType, value: ir.Value) -> None:
        first, size, spare = _octets(header, field)
        whole = ir.IntType(8 * size)
        bits = resized(self._b, value, whole.width)
        if field.width != whole.width:
            if spare:
                bits = self._b.shl(bits, ir.Constant(whole, spare))
            kept = ((1 << whole.width) - 1) & ~(((1 << field.width) - 1) << spare)
            around = self._b.and_(self.big_endian(pointer, first, size), ir.Constant(whole, kept))
            bits = self._b.or_(around, bits)
        for offset, kind in pieces(size):
            shift = 8 * (size - offset) - kind.width
            part = self._b.lshr(bits, ir.Constant(whole, shift)) if shift else bits
            self._f.store(self._swapped(resized(self._b, part, kind.width)), pointer, first + offset)

    def _swapped(self, value: ir.Value) -> ir.Value:
        return value if value.type.width == 8 else self._b.bswap(value)

    # --- stacks -----------------------------------------------------------------------------------------------------

    def next_of(self, stack: HeaderStack) -> ir.Value:
        """The variable with the index of a stack's next header."""
        if stack.position not in self._next:
            self._next[stack.position] = self._f.variable(stack.position, I64, i64(0))
        return self._next[stack.position]


def pieces(size: int) -> list[tuple[int, ir.IntType]]:
    """`size` bytes as numbers of 8, 4, 2 and 1 byte, and their offsets."""
    found = []
    offset = 0
    for length, kind in _PIECES:
        while size - offset >= length:
            found.append((offset, kind))
            offset += length
    return found


def _octets(header: Header, field: FieldType) -> tuple[int, int, int]:
    """The first byte that has bits of a field, how many bytes have, and the spare bits after it in the last."""
    begin = header.type.width - field.shift - field.width
    first, end = begin // 8, (begin + field.width + 7) // 8
    return first, end - first, 8 * end - begin - field.width
