# SPDX-License-Identifier: Apache-2.0
"""The engine on programs/lookup.p4: entries of every kind, and what is counted, metered, remembered,
reported."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
from hvchannel_softswitch.engine import (
    ActionCall,
    CounterData,
    EngineError,
    EntryExists,
    EntryKey,
    Exact,
    Lpm,
    Match,
    MeterConfig,
    NoSuchEntry,
    Optional,
    Range,
    TableFull,
    Ternary,
)

if TYPE_CHECKING:
    from conftest import Bench

EXACT, LPM, TERNARY, RANGE, OPTIONAL, CONST = (
    f"LookupIngress.{name}_t" for name in ("exact", "lpm", "ternary", "range", "optional", "const")
)
TABLE_IDS = {EXACT: 0, LPM: 1, TERNARY: 2, RANGE: 3, OPTIONAL: 4, CONST: 5}


def request(table: str, first: int = 0, second: int = 0, third: int = 0) -> bytes:
    return struct.pack(">BIHBH", TABLE_IDS[table], first, second, third, 0) + b"payload"


def ask(bench: Bench, table: str, first: int = 0, second: int = 0, third: int = 0) -> int | None:
    """The answer of the table, or None if the frame was dropped."""
    sent = bench.run(3, request(table, first, second, third))
    if not sent:
        return None
    [(port, frame)] = sent
    assert port == 3
    assert frame[:8] == request(table, first, second, third)[:8]
    assert frame[10:] == b"payload"
    return int.from_bytes(frame[8:10])


def key(*matches: Match, priority: int = 0) -> EntryKey:
    return EntryKey(matches, priority)


def answer(value: int) -> ActionCall:
    return ActionCall("LookupIngress.answer", (value,))


def metered(value: int) -> ActionCall:
    return ActionCall("LookupIngress.metered", (value,))


def test_exact(lookup: Bench) -> None:
    entry = key(Exact(0xA0000001), Exact(80))
    assert ask(lookup, EXACT, 0xA0000001, 80) == 0
    lookup.engine.insert(EXACT, entry, metered(7))
    assert ask(lookup, EXACT, 0xA0000001, 80) == 7
    assert ask(lookup, EXACT, 0xA0000001, 81) == 0
    lookup.engine.modify(EXACT, entry, metered(8))
    assert ask(lookup, EXACT, 0xA0000001, 80) == 8
    lookup.engine.delete(EXACT, entry)
    assert ask(lookup, EXACT, 0xA0000001, 80) == 0


def test_lpm_prefers_the_longest_prefix(lookup: Bench) -> None:
    for length, value in ((0, 1), (8, 2), (32, 3)):
        lookup.engine.insert(
            LPM, key(Exact(9), Lpm(0x0A000001 & ~(2 ** (32 - length) - 1), length)), answer(value)
        )
    assert [ask(lookup, LPM, first, 9) for first in (0x0A000001, 0x0A000002, 0x0B000000)] == [3, 2, 1]
    assert ask(lookup, LPM, 0x0A000001, 8) == 0


def test_ternary_prefers_the_larger_priority(lookup: Bench) -> None:
    lookup.engine.insert(TERNARY, key(Ternary(0, 0), Ternary(0, 0), priority=1), answer(1))
    lookup.engine.insert(TERNARY, key(Ternary(0x10, 0xF0), Ternary(0, 0), priority=10), answer(2))
    lookup.engine.insert(TERNARY, key(Ternary(0, 0), Ternary(5, 0xFFFF), priority=20), answer(3))
    assert [ask(lookup, TERNARY, f, s) for f, s in ((0, 0), (0x1F, 0), (0x1F, 5))] == [1, 2, 3]


def test_range(lookup: Bench) -> None:
    lookup.engine.insert(RANGE, key(Range(80, 443), Exact(6), priority=1), answer(1))
    lookup.engine.insert(RANGE, key(Range(443, 443), Exact(6), priority=2), answer(2))
    assert [ask(lookup, RANGE, 0, s, 6) for s in (79, 80, 442, 443, 444)] == [None, 1, 1, 2, None]
    assert ask(lookup, RANGE, 0, 80, 7) is None


def test_optional(lookup: Bench) -> None:
    lookup.engine.insert(OPTIONAL, key(Optional(5), Optional(None), priority=2), answer(1))
    lookup.engine.insert(OPTIONAL, key(Optional(None), Optional(9), priority=1), answer(2))
    assert [ask(lookup, OPTIONAL, f, 0, t) for f, t in ((5, 9), (4, 9), (4, 8))] == [1, 2, None]


def test_const_entries(lookup: Bench) -> None:
    assert ask(lookup, CONST, 0x01000000) == 0xC0
    assert ask(lookup, CONST, 0x02000000) == 0xC1
    with pytest.raises(EngineError, match="const entries"):
        lookup.engine.insert(CONST, key(Ternary(0, 0), priority=9), answer(1))


def test_entries_in_insertion_order(lookup: Bench) -> None:
    keys = [key(Exact(first), Exact(0)) for first in (3, 1, 2)]
    for entry in keys:
        lookup.engine.insert(EXACT, entry, metered(1))
    assert [entry.key for entry in lookup.engine.entries(EXACT)] == keys
    assert all(entry.is_const for entry in lookup.engine.entries(CONST))


def test_writes_that_are_refused(lookup: Bench) -> None:
    engine, entry = lookup.engine, key(Exact(1), Exact(2))
    with pytest.raises(NoSuchEntry):
        engine.modify(EXACT, entry, metered(1))
    with pytest.raises(NoSuchEntry):
        engine.delete(EXACT, entry)
    engine.insert(EXACT, entry, metered(1))
    with pytest.raises(EntryExists):
        engine.insert(EXACT, entry, metered(2))
    for first in (2, 3, 4):
        engine.insert(EXACT, key(Exact(first), Exact(2)), metered(1))
    with pytest.raises(TableFull, match="4 entries"):
        engine.insert(EXACT, key(Exact(5), Exact(2)), metered(1))
    with pytest.raises(EngineError, match=r"'second'.*Exact, not Lpm"):
        engine.insert(EXACT, key(Exact(5), Lpm(0, 0)), metered(1))
    with pytest.raises(EngineError, match="16 bits, too few for 0x10000"):
        engine.insert(EXACT, key(Exact(5), Exact(0x10000)), metered(1))
    with pytest.raises(EngineError, match=r"no action 'fly' \(valid: 'LookupIngress.metered'"):
        engine.modify(EXACT, entry, ActionCall("fly"))
    with pytest.raises(EngineError, match="after the prefix"):
        engine.insert(LPM, key(Exact(1), Lpm(1, 31)), answer(1))
    with pytest.raises(EngineError, match="const"):
        engine.set_default_action(RANGE, answer(1))


def test_default_actions(lookup: Bench) -> None:
    engine = lookup.engine
    assert ask(lookup, TERNARY) is None
    engine.set_default_action(TERNARY, answer(5))
    assert engine.default_action(TERNARY) == answer(5)
    assert ask(lookup, TERNARY) == 5
    engine.set_default_action(TERNARY, None)
    assert engine.default_action(TERNARY) == ActionCall("LookupIngress.drop")
    assert ask(lookup, TERNARY) is None


def test_direct_counters_count_hits_with_the_length_at_ingress(lookup: Bench) -> None:
    entry = key(Exact(1), Exact(0))
    lookup.engine.insert(EXACT, entry, metered(1))
    for first in (1, 1, 2):
        ask(lookup, EXACT, first)
    assert lookup.engine.read_direct_counter(EXACT, entry) == CounterData(2, 2 * len(request(EXACT)))
    lookup.engine.modify(EXACT, entry, metered(2))
    assert lookup.engine.read_direct_counter(EXACT, entry).packets == 2
    lookup.engine.write_direct_counter(EXACT, entry, CounterData())
    assert lookup.engine.read_direct_counter(EXACT, entry) == CounterData(0, 0)


def test_direct_meter_colours_and_red_is_dropped(lookup: Bench) -> None:
    entry = key(Exact(1), Exact(0))
    lookup.engine.insert(EXACT, entry, metered(1))
    assert [ask(lookup, EXACT, 1) for _ in range(5)] == [1] * 5, "without a configuration all is green"
    size = len(request(EXACT))
    config = MeterConfig(cir=size, cburst=size, pir=size, pburst=2 * size)
    lookup.engine.write_direct_meter(EXACT, entry, config)
    assert lookup.engine.read_direct_meter(EXACT, entry) == config
    assert [ask(lookup, EXACT, 1) for _ in range(3)] == [1, 1, None]
    lookup.now += 1_000_000_000
    assert [ask(lookup, EXACT, 1) for _ in range(2)] == [1, None]
    lookup.engine.write_direct_meter(EXACT, entry, None)
    assert lookup.engine.read_direct_meter(EXACT, entry) is None
    assert ask(lookup, EXACT, 1) == 1


def test_registers_counters_and_meters_by_index(lookup: Bench) -> None:
    engine = lookup.engine
    assert [ask(lookup, CONST, 2, 0, slot) for slot in (0, 0, 3)] == [1, 2, 1]
    assert engine.read_register("LookupIngress.visits", 0) == 2
    assert engine.read_counter("LookupIngress.per_slot", 3) == CounterData(1, len(request(CONST)))
    engine.write_meter("LookupIngress.slot_meter", 3, MeterConfig(0, 0, 0, 1))
    assert [ask(lookup, CONST, 2, 0, 3) for _ in range(2)] == [2, None]
    with pytest.raises(IndexError, match="4 cells, no index 4"):
        engine.read_counter("LookupIngress.per_slot", 4)


def test_an_index_out_of_bounds_touches_nothing(lookup: Bench) -> None:
    assert (
        ask(lookup, CONST, 2, 0, 4) == 1
    )  # the register is not read, so `seen` is still 0, and 1 afterwards
    assert [lookup.engine.read_register("LookupIngress.visits", i) for i in range(4)] == [0, 0, 0, 0]


def test_digest(lookup: Bench) -> None:
    assert ask(lookup, CONST, 0xAB01) == 0xD1
    assert lookup.digests == [("found_t", (0xAB01, 3))]


def test_hash(lookup: Bench) -> None:
    from hvchannel_softswitch.interpreter.hashes import crc16

    assert ask(lookup, CONST, 0x03, 0x1234) == crc16(struct.pack(">IH", 3, 0x1234))


def test_a_frame_too_short_for_its_header_is_dropped_by_exit(lookup: Bench) -> None:
    assert lookup.run(1, b"\x05\x00") == []


def test_the_source_is_python_that_a_person_can_read(lookup: Bench) -> None:
    source = lookup.engine.source()
    assert "def process(port, frame):" in source
    assert "# LookupIngress.exact_t" in source
    assert max(map(len, source.splitlines())) < 400
