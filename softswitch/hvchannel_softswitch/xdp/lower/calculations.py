# SPDX-License-Identifier: Apache-2.0
"""Checksums and hashes over fields, as `interpreter.hashes` defines them; over the payload none can be had."""

from __future__ import annotations

from llvmlite import ir

from hvchannel_softswitch.model import UnsupportedProgram
from hvchannel_softswitch.model import statements as st
from hvchannel_softswitch.xdp.lower.frame import Frame, resized
from hvchannel_softswitch.xdp.lower.kernel import I1, I64, i64
from hvchannel_softswitch.xdp.lower.numbers import Numbers
from hvchannel_softswitch.xdp.lower.storage import Storage

_SUMMED = {"csum16": 16, "xor16": 16, "xor32": 32}
"""Algorithms that add up words of so many bits, in any order and with any zeros between."""


class Calculations:
    """Writes calculations."""

    def __init__(self, frame: Frame, storage: Storage, numbers: Numbers) -> None:
        self._f = frame
        self._b = frame.b
        self._s = storage
        self._n = numbers

    def result(self, calculation: st.Calculation) -> ir.Value:
        """The result, in 64 bits. Raises UnsupportedProgram."""
        name, algorithm = calculation.name, calculation.algorithm
        if calculation.payload:
            raise UnsupportedProgram(f"calculation {name!r} is over the payload")
        groups = self._groups(calculation)
        if algorithm in _SUMMED:
            return self._summed(algorithm, groups)
        if any(header is not None for header, _ in groups):
            raise UnsupportedProgram(
                f"calculation {name!r} ({algorithm}) leaves out headers that are not valid"
            )
        data = self._concatenated([part for _, parts in groups for part in parts], 8)
        match algorithm:
            case "identity":
                return self._first_bytes(data)
            case "crc16":
                return self._reflected(data, 16, 0xA001, 0, 0)
            case "crc32":
                return self._reflected(data, 32, 0xEDB88320, 0xFFFFFFFF, 0xFFFFFFFF)
            case "crcCCITT":
                return self._forward(data, 16, 0x1021, 0xFFFF)
            case _:
                valid = ", ".join([*_SUMMED, "identity", "crc16", "crc32", "crcCCITT"])
                raise UnsupportedProgram(
                    f"calculation {name!r} has algorithm {algorithm!r} (this engine has: {valid})"
                )

    @staticmethod
    def _groups(calculation: st.Calculation) -> list[tuple[str | None, list[st.CalculationPart]]]:
        """Parts that follow one another and are valid together."""
        groups: list[tuple[str | None, list[st.CalculationPart]]] = []
        for part in calculation.parts:
            if part.varbit:
                raise UnsupportedProgram(f"calculation {calculation.name!r} has a varbit field")
            if groups and groups[-1][0] == part.header:
                groups[-1][1].append(part)
            else:
                groups.append((part.header, [part]))
        return groups

    def _concatenated(self, parts: list[st.CalculationPart], multiple: int, ahead: int = 0) -> ir.Value:
        """So many zero bits `ahead`, then all bits one after the other, the first the most significant, then zeros to
        whole `multiple`s."""
        b = self._b
        width = ahead + sum(part.width for part in parts)
        whole = ir.IntType(max(multiple, -(-width // multiple) * multiple))
        value: ir.Value = ir.Constant(whole, 0)
        shift = whole.width - ahead
        for part in parts:
            shift -= part.width
            bits = resized(b, self._n.modulo(part.value, part.width), whole.width)
            value = b.or_(value, b.shl(bits, ir.Constant(whole, shift)) if shift else bits)
        return value

    def _summed(self, algorithm: str, groups: list[tuple[str | None, list[st.CalculationPart]]]) -> ir.Value:
        """Where in a word a group begins depends on which headers before it are valid: `offset` bits, one of few."""
        b, size = self._b, _SUMMED[algorithm]
        total, offset = self._f.variable("sum", I64), self._f.variable("offset", I64)
        b.store(i64(0), total)
        b.store(i64(0), offset)
        offsets = {0}
        for header, parts in groups:
            width = sum(part.width for part in parts)
            condition = self._s.valid(header) if header else ir.Constant(I1, 1)
            with self._f.when(condition):
                before = self._f.get(offset)
                for ahead in sorted(offsets):
                    here = (
                        b.icmp_unsigned("==", before, i64(ahead)) if len(offsets) > 1 else ir.Constant(I1, 1)
                    )
                    with self._f.when(here):
                        self._add(algorithm, self._concatenated(parts, size, ahead), total)
                b.store(b.and_(b.add(before, i64(width)), i64(size - 1)), offset)
            moved = {(ahead + width) % size for ahead in offsets}
            offsets = moved | offsets if header else moved
        value = self._f.get(total)
        if algorithm != "csum16":
            return value
        for _ in range(3):
            value = b.add(b.and_(value, i64(0xFFFF)), b.lshr(value, i64(16)))
        return b.xor(value, i64(0xFFFF))

    def _add(self, algorithm: str, data: ir.Value, total: ir.Value) -> None:
        b, size = self._b, _SUMMED[algorithm]
        value = self._f.get(total)
        for shift in range(0, data.type.width, size):
            word = b.lshr(data, ir.Constant(data.type, shift)) if shift else data
            word = resized(b, resized(b, word, size), 64)
            value = b.add(value, word) if algorithm == "csum16" else b.xor(value, word)
        b.store(value, total)

    def _bytes(self, data: ir.Value) -> list[ir.Value]:
        size = data.type.width
        return [
            resized(self._b, resized(self._b, self._b.lshr(data, ir.Constant(data.type, shift)), 8), 64)
            for shift in range(size - 8, -1, -8)
        ]

    def _first_bytes(self, data: ir.Value) -> ir.Value:
        if data.type.width > 64:
            data = self._b.lshr(data, ir.Constant(data.type, data.type.width - 64))
        return resized(self._b, data, 64)

    def _reflected(self, data: ir.Value, width: int, polynomial: int, start: int, final: int) -> ir.Value:
        """A CRC, the least significant bit first."""
        b = self._b
        remainder: ir.Value = i64(start)
        for byte in self._bytes(data):
            remainder = b.xor(remainder, byte)
            for _ in range(8):
                low = self._f.opaque(b.and_(remainder, i64(1)))
                remainder = b.xor(b.lshr(remainder, i64(1)), b.mul(low, i64(polynomial)))
        return b.and_(b.xor(remainder, i64(final)), i64((1 << width) - 1))

    def _forward(self, data: ir.Value, width: int, polynomial: int, start: int) -> ir.Value:
        """A CRC, the most significant bit first."""
        b = self._b
        remainder: ir.Value = i64(start)
        for byte in self._bytes(data):
            remainder = b.xor(remainder, b.shl(byte, i64(width - 8)))
            for _ in range(8):
                top = self._f.opaque(b.and_(b.lshr(remainder, i64(width - 1)), i64(1)))
                remainder = b.xor(b.shl(remainder, i64(1)), b.mul(top, i64(polynomial)))
                remainder = b.and_(remainder, i64((1 << width) - 1))
        return remainder
