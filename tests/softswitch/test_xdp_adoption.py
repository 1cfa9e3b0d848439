# SPDX-License-Identifier: Apache-2.0
"""Memory that is not this program's arena is not taken for it; what a dead process was at is put right. See
test_xdp_publishing for a death at any store."""

from __future__ import annotations

import pytest
from hvchannel_softswitch.engine import ActionCall, EntryKey, Lpm, MeterConfig
from hvchannel_softswitch.model import MatchKind
from hvchannel_softswitch.xdp.arena import ArenaError
from hvchannel_softswitch.xdp.engine import XdpEngine
from hvchannel_softswitch.xdp.layout import lay_out

from .xdp_arena import CPUS, Packets, base_program, program_of, table_of

CALL = ActionCall("answer", (7,))


class Left:
    """An arena with one entry, and the engine that wrote it."""

    def __init__(self):
        self.program = program_of(base_program(), table_of((MatchKind.LPM,), (32,)))
        self.layout = lay_out(self.program, CPUS)
        self.here = self.layout.tables["t"]
        self.memory = bytearray(self.layout.size)
        self.packets = Packets(self.layout, "t", self.memory)
        self.periods = 0
        self.engine = XdpEngine(self.program, self.layout, self.memory, **self.options())
        self.key = EntryKey((Lpm(0, 8),))
        self.engine.insert("t", self.key, CALL)
        self.engine.flush()
        self.slot = self.packets.look_up((1,)).slot

    def options(self):
        return {"clock": lambda: 1, "synchronize": self.synchronize}

    def synchronize(self):
        self.periods += 1

    def adopt(self):
        return XdpEngine.adopt(self.program, self.layout, self.memory, **self.options())

    def u32(self, at, value):
        self.memory[at : at + 4] = value.to_bytes(4, "little")

    def bucket(self):
        return next(
            at
            for at in range(self.here.buckets, self.here.buckets + 4 * self.here.bucket_count, 4)
            if self.packets.number(at, 4)
        )


def test_one_wait_is_enough():
    it = Left()
    it.adopt()
    assert it.periods == 1


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda it: it.u32(it.bucket(), 999), "table 't' leads to entry 999, and it has room for 1 to 31"),
        (lambda it: it.u32(it.here.entry(it.slot), it.slot), "leads to entry 2 twice"),
        (lambda it: it.u32(it.here.header, 0), "leads to entry 0"),
        (lambda it: it.u32(it.here.entry(it.slot) + 16, 2 | 1 << 16), "leads to entry 2, which is no entry"),
        (lambda it: it.u32(it.here.entry(it.slot) + 16, 0), "leads to entry 2, which is no entry"),
        (lambda it: it.u32(it.here.header + 4, 257 << 1), "has 257 mask groups, of 256 at most"),
        (lambda it: it.u32(it.here.entry(it.slot) + 20, 77), "meter record 77 is not one of the pool's 32"),
    ],
)
def test_other_memory_is_refused(spoil, message):
    it = Left()
    spoil(it)
    with pytest.raises(ArenaError, match=message):
        it.adopt()


def test_an_entry_whose_masks_were_not_in_force_goes():
    it = Left()
    it.engine.insert("t", EntryKey((Lpm(0, 16),)), CALL)
    heir = it.adopt()
    assert [entry.key for entry in heir.entries("t")] == [it.key]
    heir.insert("t", EntryKey((Lpm(0, 16),)), CALL)
    heir.flush()
    assert it.packets.look_up((1,)).rank >> 32 == 16


def test_all_records_but_those_in_use_are_free():
    it = Left()
    it.engine.write_direct_meter("t", it.key, MeterConfig(1, 1, 1, 1))
    for number in range(9, 20):
        it.engine.insert("t", EntryKey((Lpm(0, number),)), CALL)
        it.engine.delete("t", EntryKey((Lpm(0, number),)))
    heir = it.adopt()
    for number in range(9, 20):
        heir.insert("t", EntryKey((Lpm(0, number),)), CALL)
        heir.write_direct_meter("t", EntryKey((Lpm(0, number),)), MeterConfig(2, 2, 2, 2))
    heir.flush()
    assert it.periods == 1
    assert heir.read_direct_meter("t", it.key) == MeterConfig(1, 1, 1, 1)
    assert [entry.key.matches[0].prefix_len for entry in heir.entries("t")] == [8, *range(9, 20)]


def test_entries_keep_their_age_and_new_ones_are_younger():
    it = Left()
    it.engine.insert("t", EntryKey((Lpm(1 << 24, 8),)), CALL)
    it.engine.modify("t", it.key, ActionCall("wide", (2**99, 1)))
    heir = it.adopt()
    heir.insert("t", EntryKey((Lpm(2 << 24, 8),)), CALL)
    assert list(heir.entries("t"))[:2] == list(it.engine.entries("t"))[:2]
    assert [entry.key.matches[0].value >> 24 for entry in heir.entries("t")] == [0, 1, 2]
