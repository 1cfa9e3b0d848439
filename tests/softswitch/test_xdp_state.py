# SPDX-License-Identifier: Apache-2.0
"""Counters, meters, registers and idle times, as packets leave them in the arena."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hvchannel_softswitch.engine import ActionCall, CounterData, EngineError, EntryKey, Exact, MeterConfig
from hvchannel_softswitch.interpreter.meters import TwoRateMeter
from hvchannel_softswitch.model.program import Register
from hvchannel_softswitch.xdp.engine import XdpEngine
from hvchannel_softswitch.xdp.layout import NEVER, lay_out
from hypothesis import given
from hypothesis import strategies as st

from .xdp_arena import CPUS, SHAPES, Packets, base_program, program_of, table_of

KEY = EntryKey((Exact(3),))
OTHER = EntryKey((Exact(4),))
CALL = ActionCall("answer", (7,))
SECOND = 1_000_000_000


class Bench:
    """A table of one exact key of 4 bits, with everything that a table can have; `now` is the clock."""

    def __init__(self, cpus=CPUS):
        program = program_of(base_program(), table_of(*SHAPES[0]))
        registers = {"r": Register("r", 3, 9), "wide": Register("wide", 2, 130)}
        self.program = replace(program, registers=registers)
        self.layout = lay_out(self.program, cpus)
        self.memory = bytearray(self.layout.size)
        self.packets = Packets(self.layout, "t", self.memory)
        self.now = 5
        self.periods = 0
        self.idle = []
        self.engine = XdpEngine(self.program, self.layout, self.memory, **self.options())
        self.engine.insert("t", KEY, CALL)

    def options(self):
        return {
            "clock": lambda: self.now,
            "synchronize": self.synchronize,
            "idle": lambda table, key: self.idle.append((table, key)),
        }

    def synchronize(self):
        self.periods += 1

    def adopt(self):
        return XdpEngine.adopt(self.program, self.layout, self.memory, **self.options())

    def slot(self, key=KEY):
        return self.packets.look_up([key.matches[0].value]).slot

    def meter(self, record, pool):
        """A record's numbers, by what the layout calls them."""
        names = "last", "committed", "peak", "cir", "pir"
        names += "committed_burst", "peak_burst", "committed_fill", "peak_fill"
        return dict(zip(names, self.packets.words(pool + 80 * record + 8, 9), strict=True))

    def direct_meter(self):
        here = self.layout.tables["t"]
        return self.meter(self.packets.number(here.entry(self.slot()) + 20, 4), here.meter_pool)


def test_a_direct_counter_is_the_sum_over_cpus():
    it = Bench(cpus=3)
    for cpu, octets in ((0, 100), (2, 50), (2, 1)):
        it.packets.count(it.slot(), cpu, octets)
    assert it.engine.read_direct_counter("t", KEY) == CounterData(3, 151)
    assert it.engine.read_direct_counter("t", KEY) == it.adopt().read_direct_counter("t", KEY)


@pytest.mark.parametrize("data", [CounterData(), CounterData(7, 1), CounterData(2**64 - 1, 2**63)])
def test_a_counter_goes_on_from_what_it_is_set_to(data):
    it = Bench()
    it.packets.count(it.slot(), 1, 100)
    it.engine.write_direct_counter("t", KEY, data)
    assert it.engine.read_direct_counter("t", KEY) == data
    it.packets.count(it.slot(), 0, 60)
    wanted = CounterData((data.packets + 1) % 2**64, (data.bytes + 60) % 2**64)
    assert it.engine.read_direct_counter("t", KEY) == wanted == it.adopt().read_direct_counter("t", KEY)


def test_packets_still_in_the_old_record_count():
    it = Bench()
    old = it.slot()
    it.packets.count(old, 0, 10)
    it.engine.modify("t", KEY, ActionCall("answer", (8,)))
    new = it.slot()
    assert new != old
    it.packets.count(old, 1, 10)
    it.packets.count(new, 1, 10)
    assert it.engine.read_direct_counter("t", KEY) == CounterData(3, 30)
    heir = it.adopt()
    assert heir.read_direct_counter("t", KEY) == CounterData(3, 30)


def test_a_slot_used_again_counts_from_nothing():
    it = Bench()
    used = it.slot()
    it.packets.count(used, 0, 10)
    it.engine.delete("t", KEY)
    for _ in range(it.layout.tables["t"].slots):
        it.engine.insert("t", KEY, CALL)
        if it.slot() == used:
            break
        it.engine.delete("t", KEY)
    assert it.slot() == used
    assert it.engine.read_direct_counter("t", KEY) == CounterData()


def test_an_indirect_counter_is_the_sum_over_cpus():
    it = Bench()
    assert it.engine.read_counter("i", 3) == CounterData()
    cell = it.layout.cpus + it.layout.cpu_stride + it.layout.counters["i"].offset + 16 * 3
    it.packets.store(cell, 2)
    it.packets.store(cell + 8, 200)
    assert it.engine.read_counter("i", 3) == CounterData(2, 200)
    it.engine.write_counter("i", 3, CounterData(5, 0))
    it.packets.store(cell, 3)
    assert it.engine.read_counter("i", 3) == CounterData(6, 0)
    assert it.engine.read_counter("i", 2) == CounterData()
    assert it.adopt().read_counter("i", 3) == CounterData(6, 0)


@pytest.mark.parametrize("index", [-1, 4])
def test_cells_that_are_not_there(index):
    it = Bench()
    for read, write, data in (
        ("read_counter", "write_counter", CounterData()),
        ("read_meter", "write_meter", None),
    ):
        name = {"read_counter": "i", "read_meter": "j"}[read]
        with pytest.raises(IndexError, match=f"{name!r} has 4 cells, no index {index}"):
            getattr(it.engine, read)(name, index)
        with pytest.raises(IndexError, match=f"{name!r} has 4 cells, no index {index}"):
            getattr(it.engine, write)(name, index, data)


def test_a_meter_is_full_at_first():
    it = Bench()
    assert it.engine.read_direct_meter("t", KEY) is None
    config = MeterConfig(cir=3, cburst=100, pir=0, pburst=200)
    it.engine.write_direct_meter("t", KEY, config)
    assert it.engine.read_direct_meter("t", KEY) == config
    assert it.direct_meter() == {
        "last": 5,
        "committed": 100 * SECOND,
        "peak": 200 * SECOND,
        "cir": 3,
        "pir": 0,
        "committed_burst": 100 * SECOND,
        "peak_burst": 200 * SECOND,
        "committed_fill": -(-100 * SECOND // 3),
        "peak_fill": NEVER,
    }


def test_a_meter_stays_with_its_entry():
    it = Bench()
    it.engine.write_direct_meter("t", KEY, MeterConfig(1, 2, 3, 4))
    here = it.layout.tables["t"]
    record = it.packets.number(here.entry(it.slot()) + 20, 4)
    it.packets.store(here.meter_pool + 80 * record + 16, 12345)
    it.engine.modify("t", KEY, ActionCall("wide", (1, 1)))
    assert it.direct_meter()["committed"] == 12345
    heir = it.adopt()
    assert heir.read_direct_meter("t", KEY) == MeterConfig(1, 2, 3, 4)
    heir.insert("t", OTHER, CALL)
    heir.write_direct_meter("t", OTHER, MeterConfig(9, 9, 9, 9))
    assert it.direct_meter()["committed"] == 12345


def test_a_new_configuration_is_a_new_record():
    it = Bench()
    for table, cell in (("t", None), ("j", 2)):
        write = it.engine.write_direct_meter if table == "t" else it.engine.write_meter
        target = KEY if table == "t" else cell
        write(table, target, MeterConfig(1, 1, 1, 1))
        before = bytes(it.memory)
        write(table, target, MeterConfig(2, 2, 2, 2))
        pool = it.layout.tables["t"].meter_pool if table == "t" else it.layout.meters["j"].pool
        assert it.memory[pool + 80 : pool + 160] == before[pool + 80 : pool + 160]
        write(table, target, None)


def test_indirect_meters_do_not_run_out_of_records():
    it = Bench()
    for number in range(200):
        it.engine.write_meter("j", number % 4, MeterConfig(number, 1, 1, 1))
    assert [it.engine.read_meter("j", index).cir for index in range(4)] == [196, 197, 198, 199]
    assert 200 / it.layout.meters["j"].records / 2 < it.periods < 200 / 8
    heir = it.adopt()
    for number in range(200):
        heir.write_meter("j", number % 3, MeterConfig(number, 1, 1, 1))
    assert heir.read_meter("j", 3).cir == 199


def test_direct_meters_do_not_run_out_of_records():
    it = Bench()
    for number in range(100):
        it.engine.insert("t", OTHER, CALL)
        it.engine.write_direct_meter("t", OTHER, MeterConfig(number, 1, 1, 1))
        it.engine.write_direct_meter("t", OTHER, MeterConfig(number, 2, 2, 2))
        it.engine.delete("t", OTHER)
    assert it.engine.read_direct_meter("t", KEY) is None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (MeterConfig(0, 2**34, 0, 0), "cburst 17179869184 of a meter is not valid .valid: 0 to 9223372036."),
        (MeterConfig(0, 0, 0, 2**34), "pburst 17179869184"),
        (MeterConfig(2**64, 0, 0, 0), "cir 18446744073709551616"),
        (MeterConfig(0, 0, -1, 0), "pir -1"),
    ],
)
def test_a_meter_that_a_record_cannot_hold_is_refused(config, message):
    it = Bench()
    it.engine.write_direct_meter("t", KEY, MeterConfig(1, 1, 1, 1))
    with pytest.raises(EngineError, match=message):
        it.engine.write_direct_meter("t", KEY, config)
    assert it.engine.read_direct_meter("t", KEY) == MeterConfig(1, 1, 1, 1)


rates, bursts = st.integers(0, 2**64 - 1), st.integers(0, (2**63 - 1) // SECOND)


@given(
    bursts, rates, st.lists(st.integers(0, 2**62), max_size=5), st.lists(st.integers(0, 2**40), max_size=5)
)
def test_a_record_refills_as_the_interpreters_meter(burst, rate, gaps, costs):
    """By the layout's rule: full after `fill`, and no product beyond 64 bits before that."""
    it = Bench()
    it.engine.write_direct_meter("t", KEY, MeterConfig(rate, burst, rate, burst))
    record, reference = it.direct_meter(), TwoRateMeter(MeterConfig(rate, burst, rate, burst), it.now)
    tokens, now = record["committed"], it.now
    for gap, cost in zip(gaps, costs, strict=False):
        now += gap
        if gap >= record["committed_fill"]:
            tokens = record["committed_burst"]
        else:
            assert tokens + gap * record["cir"] < 2**64
            tokens = min(tokens + gap * record["cir"], record["committed_burst"])
        if tokens >= cost * SECOND:
            tokens -= cost * SECOND
        reference.execute(cost, now)
        assert tokens == reference._committed


def test_registers_of_several_words():
    it = Bench()
    it.engine.write_register("wide", 1, 2**131 - 1)
    assert it.engine.read_register("wide", 1) == 2**130 - 1
    assert it.packets.words(it.layout.registers["wide"].offset + 24, 3) == (2**64 - 1, 2**64 - 1, 3)
    assert it.engine.read_register("wide", 0) == 0
    it.engine.write_register("r", 2, 513)
    assert it.engine.read_register("r", 2) == it.adopt().read_register("r", 2) == 1


def test_idle_entries_are_told_of_once_per_timeout():
    it = Bench()
    it.engine.set_idle_timeout("t", KEY, 10)
    it.now += 9
    it.engine.sweep_idle()
    assert it.idle == []
    it.now += 1
    it.engine.sweep_idle()
    it.engine.sweep_idle()
    assert it.idle == [("t", KEY)]
    it.packets.hit(it.slot(), it.now + 5)
    it.now += 14
    it.engine.sweep_idle()
    assert len(it.idle) == 1
    it.now += 1
    it.engine.sweep_idle()
    assert len(it.idle) == 2


def test_idle_timeouts_outlive_the_process():
    it = Bench()
    it.engine.set_idle_timeout("t", KEY, 10)
    it.packets.hit(it.slot(), 7)
    it.now = 16
    heir = it.adopt()
    heir.sweep_idle()
    assert it.idle == []
    it.now = 17
    heir.sweep_idle()
    assert it.idle == [("t", KEY)]
    assert heir.idle_timeout("t", KEY) == 10


def test_a_deleted_entry_is_not_idle():
    it = Bench()
    it.engine.set_idle_timeout("t", KEY, 10)
    it.engine.modify("t", KEY, ActionCall("answer", (9,)))
    it.engine.delete("t", KEY)
    it.now += 100
    it.engine.sweep_idle()
    assert it.idle == []
