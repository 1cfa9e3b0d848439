# SPDX-License-Identifier: Apache-2.0
"""Looking a packet up in a table; see `layout` for what is where."""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir

from hvchannel_softswitch.engine import Match
from hvchannel_softswitch.interpreter.tables import bounds
from hvchannel_softswitch.model import MatchKind, Table, TableKey
from hvchannel_softswitch.model import expressions as ex
from hvchannel_softswitch.xdp import layout
from hvchannel_softswitch.xdp.layout import HASH_MULTIPLIER, HASH_SHIFT, TableLayout
from hvchannel_softswitch.xdp.lower.frame import Frame, resized
from hvchannel_softswitch.xdp.lower.kernel import I1, I32, I64, POINTER, i64
from hvchannel_softswitch.xdp.lower.numbers import Numbers
from hvchannel_softswitch.xdp.lower.storage import Storage
from hvchannel_softswitch.xdp.packing import WORD, WORD_MASK


@dataclass(frozen=True, slots=True)
class Found:
    """A look-up's outcome: whether an entry was hit, and the entry's number (the default's on a miss)."""

    hit: ir.Value
    slot: ir.Value
    keys: tuple[ir.Value, ...]


class Lookup:
    """Writes look-ups."""

    def __init__(self, frame: Frame, storage: Storage, numbers: Numbers) -> None:
        self._f = frame
        self._b = frame.b
        self._s = storage
        self._n = numbers

    def find(self, table: TableLayout) -> Found:
        """The entry for this packet."""
        keys = self.keys(table.table)
        slot = self._f.variable("slot", I64)
        if not keys:
            self._b.store(i64(0), slot)
        elif table.exact:
            self._exact(table, self._f.packed(keys, table.key), slot)
        else:
            self._groups(table, keys, slot)
        hit = self._b.icmp_unsigned("!=", self._f.get(slot), i64(0))
        with self._f.when(self._b.not_(hit)):
            default = self._f.load(self._f.arena(table.header), layout.HEADER_DEFAULT, I32)
            self._b.store(self._f.widen(default), slot)
        return Found(hit, self._f.get(slot), keys)

    def entry(self, table: TableLayout, slot: ir.Value) -> ir.Value:
        """The address of an entry."""
        number = self._b.and_(slot, i64(table.slots - 1))
        return self._f.at(self._f.arena(table.entries), self._b.mul(number, i64(table.stride)))

    def keys(self, table: Table) -> tuple[ir.Value, ...]:
        """The packet's values of a table's keys, each in its width."""
        return tuple(self._key(key) for key in table.keys)

    def matches(self, table: Table, keys: tuple[ir.Value, ...], matches: tuple[Match, ...]) -> ir.Value:
        """Whether the packet's values match those of an entry that is known."""
        b = self._b
        holds: ir.Value = ir.Constant(I1, 1)
        for key, value, match in zip(table.keys, keys, matches, strict=True):
            mask, low, high = bounds(match, key.width)
            kind = value.type
            if low == high:
                if mask:
                    bits = b.and_(value, ir.Constant(kind, mask))
                    holds = b.and_(holds, b.icmp_unsigned("==", bits, ir.Constant(kind, low)))
                continue
            holds = b.and_(holds, b.icmp_unsigned("<=", ir.Constant(kind, low), value))
            holds = b.and_(holds, b.icmp_unsigned("<=", value, ir.Constant(kind, high)))
        return holds

    def _key(self, key: TableKey) -> ir.Value:
        value = self._n.modulo(key.source, key.width)
        inner = key.source.left if isinstance(key.source, ex.Binary) else key.source
        # A field of an invalid header matches as 0 (as in simple_switch).
        if isinstance(inner, ex.FieldRef) and not self._f.program.headers[inner.header].metadata:
            mask = self._b.neg(self._s.flag(inner.header))
            return self._b.and_(value, resized(self._b, mask, key.width, signed=True))
        return value

    def hash(self, group: ir.Value, words: list[ir.Value]) -> ir.Value:
        """See `layout.hash_words`."""
        b = self._b
        value = group
        for word in words:
            value = b.mul(b.xor(value, word), ir.Constant(I64, HASH_MULTIPLIER))
            value = b.xor(value, b.lshr(value, i64(HASH_SHIFT)))
        return value

    def _head(self, table: TableLayout, value: ir.Value) -> ir.Value:
        """The first entry of the chain that a hash leads to."""
        place = self._b.lshr(value, i64(table.bucket_shift))
        return self._f.widen(self._f.load(self._f.arena(table.buckets), self._b.mul(place, i64(4)), I32))

    def _exact(self, table: TableLayout, words: list[ir.Value], slot: ir.Value) -> None:
        f, b = self._f, self._b
        left = f.variable("left", I64)
        b.store(i64(layout.MAX_CHAIN), left)
        b.store(self._head(table, self.hash(i64(0), words)), slot)
        again, compare, following, end = (f.block(n) for n in ("chain", "compare", "next", "found"))
        f.here(again)
        number = f.get(slot)
        b.cbranch(b.icmp_unsigned("==", number, i64(0)), end, compare)
        b.position_at_end(compare)
        entry = self.entry(table, number)
        same = b.icmp_unsigned("==", self._different(entry, layout.KEY, words), i64(0))
        b.cbranch(same, end, following)
        b.position_at_end(following)
        b.store(f.widen(f.load(entry, layout.NEXT, I32)), slot)
        turns = b.sub(f.get(left), i64(1))
        b.store(turns, left)
        gave_up = f.block("too.long")
        b.cbranch(b.icmp_unsigned("!=", turns, i64(0)), again, gave_up)
        b.position_at_end(gave_up)
        b.store(i64(0), slot)
        f.here(end)

    def _different(self, entry: ir.Value, offset: int, words: list[ir.Value]) -> ir.Value:
        """0 if the words in memory are these."""
        b = self._b
        different: ir.Value = i64(0)
        for place, word in enumerate(words):
            different = b.or_(different, b.xor(self._f.load(entry, offset + 8 * place, I64), word))
        return different

    def _groups(self, table: TableLayout, keys: tuple[ir.Value, ...], slot: ir.Value) -> None:
        """One loop over all mask groups and their chains, so that it has one bound. `at` is the place in the present
        chain (0: on to the next group), `masked` the key under the group's masks. The number of the next group, and
        the best entry so far with its rank, are in memory, where the verifier does not follow them: it would walk the
        loop once for each of their values at each turn."""
        f, b = self._f, self._b
        packed = f.packed(keys, table.key)
        at, left, group = (f.variable(n, I64) for n in ("at", "left", "group"))
        masked = [f.variable("masked", I64) for _ in packed]
        for variable in (at, group, *masked):
            b.store(i64(0), variable)
        block = f.get(f.cpu_block, POINTER)
        place, best, rank = (f.layout.cells + 8 * number for number in range(3))
        for cell in (place, best, rank):
            f.store(i64(0), block, cell)
        b.store(i64(table.max_steps), left)
        in_force = f.widen(f.load(f.arena(table.header), layout.HEADER_GROUPS, I32))
        start = b.mul(b.and_(in_force, i64(1)), i64(layout.GROUPS * table.group_stride))
        count = b.lshr(in_force, i64(1))
        step, open_group, read_group, look, in_chain, following, taken, onward, end = (
            f.block(n) for n in ("step", "open", "group", "look", "chain", "next", "taken", "onward", "found")
        )
        f.here(step)
        b.cbranch(b.icmp_unsigned("==", f.get(at), i64(0)), open_group, in_chain)

        b.position_at_end(open_group)
        number = f.reload(block, place, I64)
        b.cbranch(b.icmp_unsigned(">=", number, count), end, read_group)
        b.position_at_end(read_group)
        offset = b.mul(b.and_(number, i64(layout.GROUPS - 1)), i64(table.group_stride))
        record = f.at(f.arena(table.lists), b.add(start, offset))
        f.store(b.add(number, i64(1)), block, place)
        top = f.load(record, 8 * table.key.words, I64)
        b.cbranch(b.icmp_unsigned("<", top, f.reload(block, rank, I64)), end, look)
        b.position_at_end(look)
        b.store(f.load(record, 8 * table.key.words + 8, I64), group)
        for number, (word, variable) in enumerate(zip(packed, masked, strict=True)):
            b.store(b.and_(word, f.load(record, 8 * number, I64)), variable)
        b.store(self._head(table, self.hash(f.get(group), [f.get(m) for m in masked])), at)
        b.branch(onward)

        b.position_at_end(in_chain)
        entry = self.entry(table, f.get(at))
        words = [f.get(m) for m in masked]
        if table.ranged:
            different = self._outside(table, entry, keys, words)
        else:
            different = self._different(entry, layout.KEY, words)
        its_group = f.widen(f.load(entry, layout.GROUP, I32))
        different = b.or_(different, b.xor(its_group, f.get(group)))
        b.cbranch(b.icmp_unsigned("==", different, i64(0)), taken, following)
        b.position_at_end(taken)
        its_rank = f.load(entry, layout.RANK, I64)
        with f.when(b.icmp_unsigned(">", its_rank, f.reload(block, rank, I64))):
            f.store(f.get(at), block, best)
            f.store(its_rank, block, rank)
        b.store(i64(0), at)  # a chain has its larger ranks first
        b.branch(onward)
        b.position_at_end(following)
        b.store(f.widen(f.load(entry, layout.NEXT, I32)), at)
        b.branch(onward)

        b.position_at_end(onward)
        turns = b.sub(f.get(left), i64(1))
        b.store(turns, left)
        b.cbranch(b.icmp_unsigned("!=", turns, i64(0)), step, end)
        b.position_at_end(end)
        b.store(f.reload(block, best, I64), slot)

    def _outside(
        self, table: TableLayout, entry: ir.Value, keys: tuple[ir.Value, ...], masked: list[ir.Value]
    ) -> ir.Value:
        """0 if each range key is between its ends and the rest is the same."""
        f, b = self._f, self._b
        ranges = [i for i, key in enumerate(table.table.keys) if key.kind is MatchKind.RANGE]
        kept = [WORD_MASK] * table.key.words
        for i in ranges:
            for piece in table.key.pieces[i]:
                kept[piece.word] &= ~(((1 << piece.width) - 1) << piece.shift)
        different: ir.Value = i64(0)
        for word, (value, mask) in enumerate(zip(masked, kept, strict=True)):
            stored = b.and_(f.load(entry, layout.KEY + 8 * word, I64), ir.Constant(I64, mask))
            different = b.or_(different, b.xor(stored, value))
        for i in ranges:
            low = f.unpacked(entry, layout.KEY, table.key, i)
            high = f.unpacked(entry, table.high, table.key, i)
            for small, large in ((low, keys[i]), (keys[i], high)):
                different = b.or_(different, self._exceeds(small, large))
        return different

    def _exceeds(self, small: ir.Value, large: ir.Value) -> ir.Value:
        """Not 0 if `small` is larger: the borrow of a subtraction, which needs no branch."""
        b, width = self._b, small.type.width + 1
        rest = b.sub(resized(b, large, width), resized(b, small, width))
        return resized(b, b.lshr(rest, ir.Constant(rest.type, width - 1)), WORD)
