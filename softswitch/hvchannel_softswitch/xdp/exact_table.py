# SPDX-License-Identifier: Apache-2.0
"""Tables whose keys are all exact: one chain to look at, in which a new entry goes last."""

from __future__ import annotations

from hvchannel_softswitch.engine import EntryKey, Insert
from hvchannel_softswitch.refusals import entry_exists, table_full
from hvchannel_softswitch.xdp.bounds import chain_too_long
from hvchannel_softswitch.xdp.fields import function, hash_lines, names, packed, tuple_of
from hvchannel_softswitch.xdp.layout import MAX_CHAIN, hash_words
from hvchannel_softswitch.xdp.records import LAST_SERIAL, Row
from hvchannel_softswitch.xdp.tables import LiveTable


class ExactTable(LiveTable):
    """A table of exact keys only. Ranks have priority 0."""

    def make_inserter(self, action: int, flags: int) -> Insert:
        """See LiveTable. Python made for the table, since everything else would take several times as long."""
        layout, records = self.layout, self.records
        count = len(self.table.keys)
        fields, arguments = names("v", count), names("a", len(layout.args[action].widths))
        words, args = packed(layout.key, fields), packed(layout.args[action], arguments)
        key, key_words = records.key, names("w", len(words))
        same = " and ".join(
            f"u64[{key.start + number} + slot * {key.step}] == {word}"
            for number, word in enumerate(key_words)
        )
        head = ["0", "0", f"{LAST_SERIAL} - serial", str(action), str(flags), "0"]
        lines = [
            f"({''.join(f'({field},), ' for field in fields)}) = key[0]",
            f"{tuple_of(arguments)} = args",
            *(f"{name} = {word}" for name, word in zip(key_words, words, strict=True)),
            *hash_lines("0", key_words),
            f"at = {layout.buckets // 4} + (value >> {layout.bucket_shift})",
            "slot = u32[at]",
            "length = 1",
            "while slot:",
            f"    if {same}:",
            "        raise entry_exists(name, key)",
            f"    at = {records.next.start} + slot * {records.next.step}",
            "    slot = u32[at]",
            "    length += 1",
            f"if live.count >= {self.table.max_size}:",
            "    raise table_full(live.table)",
            f"if length > {MAX_CHAIN}:",
            "    raise chain_too_long(name)",
            "slot = free.pop() if free else refill()",
            "serial = live.serial + 1",
            f"if serial == {LAST_SERIAL}:",
            "    serial = live.renumber() + 1",
            "live.serial = serial",
            f"write(buffer, {layout.entries} + slot * {layout.stride}, {', '.join([*head, *key_words, *args])})",
            *(["set_hit(slot, clock())"] if self.idle is not None else []),
            "u32[at] = slot",
            "live.count += 1",
        ]
        insert: Insert = function(
            "insert",
            "key, args",
            lines,
            live=self,
            name=self.table.name,
            u32=self._arena.u32,
            u64=self._arena.u64,
            buffer=self._arena.buffer,
            write=records.format(action).pack_into,
            free=self.slots.free,
            refill=self.slots.refill,
            set_hit=records.set_hit,
            clock=self._clock,
            entry_exists=entry_exists,
            table_full=table_full,
            chain_too_long=chain_too_long,
        )
        return insert

    def locate(self, key: EntryKey) -> tuple[int, int]:
        """See LiveTable."""
        _, words, _ = self.split(key.matches)
        u32 = self._arena.u32
        at = self.layout.buckets // 4 + (hash_words(0, words) >> self.layout.bucket_shift)
        while (slot := u32[at]) and self.records.key_words(slot) != words:
            at = self.next_of(slot)
        return at, slot

    def key_of(self, row: Row) -> EntryKey:
        """See LiveTable."""
        return EntryKey(self.matches((), row.words, ()))

    def unlinked(self, key: EntryKey) -> None:
        """See LiveTable. There is nothing to keep count of."""

    def flush(self) -> None:
        """See Engine. Entries are visible at once."""
        self.slots.tidy()

    def begin_adoption(self) -> None:
        """See LiveTable."""

    def adopt_entry(self, slot: int, length: int) -> bool:
        """See LiveTable. Every entry in a chain is visible."""
        return True
