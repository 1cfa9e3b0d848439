# SPDX-License-Identifier: Apache-2.0
"""What the program tells through the ring buffer (see `reports`): digests and frames for the CPU port always, a
packet's whole way when it is compiled for tracing."""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from hvchannel_softswitch.model import Table
from hvchannel_softswitch.model.headers import Header
from hvchannel_softswitch.model.program import Conditional
from hvchannel_softswitch.xdp import layout
from hvchannel_softswitch.xdp.layout import TableLayout
from hvchannel_softswitch.xdp.lower.frame import Frame
from hvchannel_softswitch.xdp.lower.kernel import I16, I64, POINTER, MapRef, i64
from hvchannel_softswitch.xdp.lower.lookup import Found
from hvchannel_softswitch.xdp.packing import Packing
from hvchannel_softswitch.xdp.reports import FRAME_WORDS, HEAD_WORDS, SIZES, Kind


class Events:
    """Writes records. One that does not fit, since nobody has read those before, is left out, and counted."""

    def __init__(self, frame: Frame, cpu: ir.Value) -> None:
        """`cpu`: the variable with the CPU's number, in 64 bits."""
        self._f = frame
        self._b = frame.b
        self._cpu = cpu

    def words(self, kind: Kind, words: Sequence[ir.Value]) -> None:
        """A record without a frame."""
        f = self._f
        record = f.kernel.reserve(MapRef.EVENTS, 8 * (HEAD_WORDS + len(words)))
        with self._b.if_else(self._got(record)) as (there, lost):
            with there:
                self._fill(record, kind, i64(0), words)
                f.kernel.submit(record)
            with lost:
                self._lose()

    def frame(self, kind: Kind, words: Sequence[ir.Value]) -> None:
        """A record with the frame as it is now, in the smallest room that it fits."""
        f, b = self._f, self._b
        assert len(words) == FRAME_WORDS[kind]
        whole = f.frame_length()
        longest = b.icmp_unsigned(">", whole, i64(SIZES[-1]))
        length = b.select(longest, i64(SIZES[-1]), whole)
        end = f.block("told")
        for size in SIZES:
            fits, larger = f.block(f"fits.{size}"), f.block("larger")
            b.cbranch(b.icmp_unsigned("<=", length, i64(size)), fits, larger)
            b.position_at_end(fits)
            self._sized(kind, words, length, size)
            b.branch(end)
            b.position_at_end(larger)
        f.here(end)

    def _sized(self, kind: Kind, words: Sequence[ir.Value], length: ir.Value, size: int) -> None:
        f = self._f
        start = 8 * (HEAD_WORDS + len(words))
        record = f.kernel.reserve(MapRef.EVENTS, start + size)
        with self._b.if_else(self._got(record)) as (there, lost):
            with there:
                self._fill(record, kind, length, words)
                bounded = self._bounded(length, size)
                f.kernel.load_bytes(f.context, ir.Constant(ir.IntType(32), 0), f.at(record, start), bounded)
                f.kernel.submit(record)
            with lost:
                self._lose()

    def _lose(self) -> None:
        """One record more that there was no room for. No other CPU writes this CPU's count."""
        f = self._f
        block, place = f.get(f.cpu_block, POINTER), f.layout.cells + layout.LOST
        f.store(self._b.add(f.load(block, place, I64), i64(1)), block, place)

    def _bounded(self, length: ir.Value, size: int) -> ir.Value:
        """The length, in a way that the verifier sees it is from 1 to `size`: LLVM must not know that it is."""
        f, b = self._f, self._b
        hidden = self._opaque(length)
        few = b.select(b.icmp_unsigned(">", hidden, i64(size)), i64(size), hidden)
        few = self._opaque(few)
        none = f.variable("bounded", I64)
        b.store(few, none)
        with f.when(b.icmp_unsigned("==", few, i64(0))):
            b.store(i64(1), none)
        return f.get(none)

    def _opaque(self, value: ir.Value) -> ir.Value:
        kind = ir.FunctionType(I64, [I64])
        return self._b.asm(kind, "", "=r,0", [value], side_effect=True)

    def _got(self, record: ir.Value) -> ir.Value:
        return self._b.icmp_unsigned("!=", record, ir.Constant(POINTER, None))

    def _fill(self, record: ir.Value, kind: Kind, length: ir.Value, words: Sequence[ir.Value]) -> None:
        f, b = self._f, self._b
        head = b.or_(i64(int(kind)), b.shl(f.get(self._cpu), i64(32)))
        for place, word in enumerate([head, length, *words]):
            f.store(f.widen(word), record, 8 * place)


class Trace:
    """Writes what only a program compiled for tracing tells. `conditions` are the program's, as it numbers them."""

    def __init__(self, frame: Frame, events: Events) -> None:
        self._f = frame
        self._events = events
        pipelines = frame.program.ingress, frame.program.egress
        nodes = [pipeline.nodes[name] for pipeline in pipelines for name in pipeline.order]
        self.conditions = tuple(node for node in nodes if isinstance(node, Conditional))
        self._tables = {name: i for i, name in enumerate(frame.layout.tables)}
        self._headers = {name: i for i, name in enumerate(frame.program.headers)}

    def begin(self, port: ir.Value, now: ir.Value, length: ir.Value) -> None:
        """A packet arrives."""
        self._events.frame(Kind.BEGIN, [port, now, length])

    def state(self, place: int) -> None:
        """The parser enters a state."""
        self._events.words(Kind.STATE, [i64(place)])

    def extracted(self, header: Header, position: ir.Value) -> None:
        """The parser extracted a header."""
        self._events.words(Kind.EXTRACTED, [i64(self._headers[header.name]), position])

    def parser_error(self, number: ir.Value) -> None:
        """The parser stopped."""
        self._events.words(Kind.PARSER_ERROR, [number])

    def checksum_error(self, place: int) -> None:
        """A verified checksum is wrong."""
        self._events.words(Kind.CHECKSUM_ERROR, [i64(place)])

    def condition(self, node: Conditional, result: ir.Value) -> None:
        """A branch was decided."""
        place = next(place for place, known in enumerate(self.conditions) if known is node)
        self._events.words(Kind.CONDITION, [i64(place), result])

    def table(self, place: TableLayout, found: Found, entry: ir.Value) -> None:
        """A table was looked up."""
        f = self._f
        head = [
            i64(self._tables[place.table.name]),
            found.hit,
            found.slot,
            f.load(entry, layout.ACTION, I16),
        ]
        keys = f.packed(found.keys, place.key)
        arguments = [
            f.load(entry, place.arguments + 8 * word, I64) for word in range(_most_words(place.args))
        ]
        self._events.words(Kind.TABLE, [*head, *keys, *arguments])

    def statements(self, table: Table) -> None:
        """Statements that p4c wrapped in a table run."""
        self._events.words(Kind.STATEMENTS, [i64(self._tables[table.name])])

    def dropped(self, egress: int) -> None:
        """A pipeline dropped the packet."""
        self._events.words(Kind.DROPPED, [i64(egress)])

    def multicast(self, group: ir.Value, slot: ir.Value) -> None:
        """The packet is left in a record, to be replicated."""
        self._events.words(Kind.MULTICAST, [group, slot])

    def unicast(self, port: ir.Value) -> None:
        """The packet enters egress as itself."""
        self._events.words(Kind.UNICAST, [port])

    def replica(self, port: ir.Value, instance: ir.Value, slot: ir.Value) -> None:
        """A replica of the packet that is left in a record enters egress."""
        self._events.words(Kind.REPLICA, [port, instance, slot])

    def sent(self, port: ir.Value, length: ir.Value) -> None:
        """The packet leaves."""
        self._events.frame(Kind.SENT, [port, length])

    def end(self) -> None:
        """The packet's way is over."""
        self._events.words(Kind.END, [])


def _most_words(args: Sequence[Packing]) -> int:
    return max((packed.words for packed in args), default=0)
