# SPDX-License-Identifier: Apache-2.0
"""What a look-up in the kernel may not exceed, how seldom the engine waits for packets, and serials that run out."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace

import pytest
from hvchannel_softswitch.engine import (
    ActionCall,
    CounterData,
    EngineError,
    EntryKey,
    Exact,
    Lpm,
    Range,
    Ternary,
)
from hvchannel_softswitch.model import MatchKind
from hvchannel_softswitch.xdp import bounds
from hvchannel_softswitch.xdp.engine import XdpEngine
from hvchannel_softswitch.xdp.layout import GROUPS, MAX_CHAIN, MOST_STEPS, hash_words, lay_out
from hvchannel_softswitch.xdp.records import LAST_SERIAL

from .xdp_arena import CPUS, Packets, base_program, program_of, table_of

CALL = ActionCall("answer", (7,))
EXACT, LPM, TERNARY, RANGE = MatchKind.EXACT, MatchKind.LPM, MatchKind.TERNARY, MatchKind.RANGE


class Bench:
    """An engine with one table."""

    def __init__(self, kind, width, size, max_steps=MOST_STEPS):
        self.program = program_of(base_program(), table_of((kind,), (width,), size=size))
        layout = lay_out(self.program, CPUS)
        tables = {"t": replace(layout.tables["t"], max_steps=max_steps)}
        self.layout = replace(layout, tables=tables)
        self.memory = bytearray(self.layout.size)
        self.packets = Packets(self.layout, "t", self.memory)
        self.periods = 0
        self.engine = XdpEngine(
            self.program, self.layout, self.memory, clock=lambda: 0, synchronize=self.synchronize
        )
        self.live = self.engine._tables["t"]

    def synchronize(self):
        self.periods += 1

    def keys(self):
        return [entry.key for entry in self.engine.entries("t")]

    def list_in_force(self):
        here = self.layout.tables["t"]
        word = self.packets.number(here.header + 4, 4)
        return [
            self.packets.words(here.group_list(word & 1) + place * here.group_stride, 3)
            for place in range(word >> 1)
        ]


def test_a_chain_in_an_exact_table_has_a_bound():
    it = Bench(EXACT, 32, 1000)
    shift = it.layout.tables["t"].bucket_shift
    chains = defaultdict(list)
    for value in range(2**20):
        chain = chains[hash_words(0, (value,)) >> shift]
        chain.append(EntryKey((Exact(value),)))
        if len(chain) > MAX_CHAIN:
            break
    *fitting, one_more = chain
    for key in fitting:
        it.engine.insert("t", key, CALL)
    message = (
        f"table 't': {MAX_CHAIN} entries share this one's hash, and a look-up visits no more; run the switch"
    )
    with pytest.raises(EngineError, match=message):
        it.engine.insert("t", one_more, CALL)
    assert it.keys() == fitting
    assert it.packets.look_up((fitting[-1].matches[0].value,)).args == (7,)
    it.engine.delete("t", fitting[10])
    it.engine.insert("t", one_more, CALL)


@pytest.mark.parametrize(
    ("widths", "keys"),
    [
        ((48, 9), [(0x0200C0A80001, port) for port in range(512)]),
        ((24, 32), [(tenant << 8, 0xA9FE0000 + host) for tenant in range(64) for host in range(8)]),
        ((128,), [((0x20010DB8 << 96) + (subnet << 64),) for subnet in range(512)]),
        ((32,), [(0x0A000000 + host,) for host in range(512)]),
        ((64,), [(1 << bit,) for bit in range(64)]),
    ],
)
def test_keys_that_differ_anywhere_spread(widths, keys):
    """Each bit of a key counts for its bucket, the uppermost of a word too."""
    here = lay_out(
        program_of(base_program(), table_of((EXACT,) * len(widths), widths, size=512)), CPUS
    ).tables["t"]
    buckets = Counter(hash_words(0, here.key.pack(values)) >> here.bucket_shift for values in keys)
    assert max(buckets) < here.bucket_count
    assert max(buckets.values()) <= 8


def test_groups_have_a_bound():
    it = Bench(TERNARY, 64, 1000)
    masks = [(1 << number) - 1 for number in range(64)] + [
        1 << 63 | (1 << number) - 1 for number in range(60)
    ]
    masks += [0b101 << number for number in range(60)] + [0b1101 << number for number in range(60)]
    masks += [0b11011 << number for number in range(60)]
    refused = None
    for mask in masks:
        try:
            it.engine.insert("t", EntryKey((Ternary(0, mask),), 1), CALL)
        except EngineError as error:
            refused = str(error)
            break
    assert "different masks" in refused
    assert refused.startswith("table 't': ")
    assert "--engine interpreter" in refused
    before = it.keys()
    it.engine.flush()
    longest = max(len(chain) for chain in _chains(it).values())
    assert len(before) * (1 + longest) <= MOST_STEPS < (len(before) + 1) * (2 + longest)
    # With less to look at there is room again.
    it.engine.delete("t", before[0])
    it.engine.delete("t", before[1])
    it.engine.flush()
    it.engine.insert("t", before[0], CALL)


def test_a_new_group_counts_with_the_longest_chain_of_all():
    it = Bench(TERNARY, 8, 100, max_steps=11)
    for priority in (1, 2, 3):
        it.engine.insert("t", EntryKey((Ternary(0, 0),), priority), CALL)
    it.engine.insert("t", EntryKey((Ternary(0, 1),), 1), CALL)
    with pytest.raises(
        EngineError, match="with 3 different masks or prefix lengths, and up to 3 entries of one hash"
    ):
        it.engine.insert("t", EntryKey((Ternary(0, 2),), 1), CALL)
    it.engine.delete("t", EntryKey((Ternary(0, 0),), 2))
    it.engine.insert("t", EntryKey((Ternary(0, 2),), 1), CALL)


def test_groups_without_entries_make_room_when_it_is_needed():
    it = Bench(TERNARY, 8, 100, max_steps=8)
    masks = (1, 2, 3, 4)
    for mask in masks:
        it.engine.insert("t", EntryKey((Ternary(0, mask),), 1), CALL)
    it.engine.flush()
    assert len(it.list_in_force()) == 4
    for mask in masks[1:]:
        it.engine.delete("t", EntryKey((Ternary(0, mask),), 1))
    it.engine.flush()
    assert len(it.list_in_force()) == 4
    assert it.periods == 0
    it.engine.insert("t", EntryKey((Ternary(0, 1),), 2), CALL)
    assert len(it.list_in_force()) == 1, "with four, packets could take 12 steps"
    assert it.periods == 1


def _chains(it):
    here, chains = it.layout.tables["t"], {}
    for bucket in range(here.bucket_count):
        slot = it.packets.number(here.buckets + 4 * bucket, 4)
        chains[bucket] = []
        while slot:
            chains[bucket].append(slot)
            slot = it.packets.number(here.entry(slot), 4)
    return chains


def test_there_is_room_for_so_many_groups_only(monkeypatch):
    monkeypatch.setattr(bounds, "steps", lambda groups, longest: 0)
    monkeypatch.setattr("hvchannel_softswitch.xdp.masked_table.steps", lambda groups, longest: 0)
    it = Bench(LPM, 300, 1000)
    for length in range(GROUPS):
        it.engine.insert("t", EntryKey((Lpm(0, length),)), CALL)
    with pytest.raises(EngineError, match="have 256 different masks or prefix lengths, the most"):
        it.engine.insert("t", EntryKey((Lpm(0, GROUPS),)), CALL)
    it.engine.flush()
    assert len(it.list_in_force()) == GROUPS


def test_ranges_of_one_chain_have_a_bound():
    it = Bench(RANGE, 16, 1000)
    keys = [EntryKey((Range(number, number + 5),), 1) for number in range(MOST_STEPS)]
    for key in keys[:-1]:
        it.engine.insert("t", key, CALL)
    with pytest.raises(
        EngineError, match=f"up to {MOST_STEPS} entries of one hash, a look-up could take 513 steps"
    ):
        it.engine.insert("t", keys[-1], CALL)
    it.engine.flush()
    assert it.packets.look_up((MOST_STEPS + 3,)).args == (7,)


def test_a_deletion_makes_room_in_the_bound():
    it = Bench(RANGE, 16, 1000)
    keys = [EntryKey((Range(number, number),), 1) for number in range(MOST_STEPS)]
    for key in keys[:-1]:
        it.engine.insert("t", key, CALL)
    it.engine.delete("t", keys[0])
    it.engine.insert("t", keys[-1], CALL)


def test_the_engine_waits_once_for_many_changes():
    it = Bench(EXACT, 32, 1000)
    for number in range(1000):
        it.engine.insert("t", EntryKey((Exact(number),)), CALL)
    assert it.periods == 0
    for number in range(10_000):
        it.engine.modify("t", EntryKey((Exact(number % 1000),)), CALL)
    spare = it.layout.tables["t"].slots - 1002
    assert it.periods <= 10_000 / spare + 1


def test_groups_are_listed_once_per_flush_and_waited_for_only_when_needed():
    it = Bench(LPM, 32, 1000)
    for length in (8, 16, 24):
        it.engine.insert("t", EntryKey((Lpm(0, length),)), CALL)
    assert it.list_in_force() == []
    it.engine.flush()
    assert [row[1] >> 32 for row in it.list_in_force()] == [24, 16, 8]
    assert it.periods == 0, "the other list was never in force"
    it.engine.insert("t", EntryKey((Lpm(1 << 31, 8),)), CALL)
    it.engine.flush()
    assert it.periods == 0, "nothing new to list"
    it.engine.insert("t", EntryKey((Lpm(0, 12),)), CALL)
    it.engine.flush()
    assert it.periods == 1, "packets may have been at the list first in force since the last wait"
    it.engine.delete("t", EntryKey((Lpm(0, 12),)))
    it.engine.flush()
    assert it.periods == 1, "a list that is too long can wait"
    assert [row[1] >> 32 for row in it.list_in_force()] == [24, 16, 12, 8]
    it.engine.insert("t", EntryKey((Lpm(0, 9),)), CALL)
    it.engine.flush()
    assert it.periods == 2
    assert [row[1] >> 32 for row in it.list_in_force()] == [24, 16, 9, 8]


def test_an_entry_of_new_masks_is_seen_from_the_flush_on():
    it = Bench(TERNARY, 8, 100)
    it.engine.insert("t", EntryKey((Ternary(1, 1),), 5), ActionCall("answer", (1,)))
    assert it.packets.look_up((1,)).args == (0,)
    it.engine.flush()
    assert it.packets.look_up((1,)).args == (1,)
    it.engine.insert("t", EntryKey((Ternary(3, 3),), 4), ActionCall("answer", (2,)))
    it.engine.insert("t", EntryKey((Ternary(3, 3),), 6), ActionCall("answer", (3,)))
    assert it.packets.look_up((3,)).args == (1,)
    it.engine.flush()
    assert it.packets.look_up((3,)).args == (3,)


def test_an_entry_above_all_others_of_its_masks_is_found():
    """Look-ups leave out groups that cannot have a better entry."""
    it = Bench(TERNARY, 8, 100)
    it.engine.insert("t", EntryKey((Ternary(1, 1),), 5), ActionCall("answer", (1,)))
    it.engine.insert("t", EntryKey((Ternary(2, 2),), 4), ActionCall("answer", (2,)))
    it.engine.flush()
    assert it.packets.look_up((3,)).args == (1,)
    it.engine.insert("t", EntryKey((Ternary(2, 2),), 6), ActionCall("answer", (3,)))
    it.engine.flush()
    assert it.packets.look_up((3,)).args == (3,)


@pytest.mark.parametrize(
    ("kind", "matches"),
    [
        (EXACT, [Exact(number) for number in range(6)]),
        (TERNARY, [Ternary(0, mask) for mask in (0, 1, 2, 3, 4, 5)]),
    ],
)
def test_serials_may_run_out(kind, matches):
    it = Bench(kind, 8, 100)
    keys = [EntryKey((match,), int(kind is TERNARY)) for match in matches]
    for key in keys[:3]:
        it.engine.insert("t", key, CALL)
    it.live.serial = LAST_SERIAL - 2
    for key in keys[3:]:
        it.engine.insert("t", key, ActionCall("answer", (9,)))
    it.engine.flush()
    assert it.keys() == keys
    assert it.live.serial == 6
    assert it.packets.look_up((0,)).args == (7,), "the oldest still wins"


def test_counters_outlive_new_serials_and_then_the_process():
    it = Bench(EXACT, 8, 100)
    keys = [EntryKey((Exact(number),)) for number in range(3)]
    for key in keys[:2]:
        it.engine.insert("t", key, CALL)
    it.packets.count(it.packets.look_up((0,)).slot, 0, 60)
    it.engine.modify("t", keys[0], ActionCall("answer", (8,)))
    it.live.serial = LAST_SERIAL - 1
    it.engine.insert("t", keys[2], CALL)
    heir = XdpEngine.adopt(it.program, it.layout, it.memory, clock=lambda: 0, synchronize=it.synchronize)
    assert [entry.key for entry in heir.entries("t")] == keys
    assert heir.read_direct_counter("t", keys[0]) == CounterData(1, 60)
