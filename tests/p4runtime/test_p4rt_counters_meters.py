# SPDX-License-Identifier: Apache-2.0
"""Direct and indirect counters and meters: writing, reading, wildcards, and what packets do to them."""

from __future__ import annotations

import pytest
from finsy.proto import p4r

_COUNTER, _METER = 311073007, 345615062
_FRAME = bytes.fromhex("00000000000aaa00000000010800") + bytes(46)


@pytest.fixture
async def entries(primary, kinds):
    made = [
        kinds.entry("exact_table", kinds.action("to_port", port=2), dst=dst, port=1) for dst in (0xA, 0xB)
    ]
    await primary.write("INSERT", *(p4r.Entity(table_entry=entry) for entry in made))
    return [p4r.TableEntry(table_id=entry.table_id, match=entry.match) for entry in made]


def _direct(key: p4r.TableEntry, packets: int | None = None) -> p4r.Entity:
    data = None if packets is None else p4r.CounterData(packet_count=packets, byte_count=packets * 60)
    return p4r.Entity(direct_counter_entry=p4r.DirectCounterEntry(table_entry=key, data=data))


async def test_packets_count_in_the_entrys_counter(rig, primary, entries):
    rig.switch.inject(1, _FRAME)
    assert await primary.read(_direct(entries[0])) == [_direct(entries[0], 1)]
    assert rig.ports[2].sent == [_FRAME]


async def test_direct_counters_wildcards(primary, entries):
    await primary.write("MODIFY", _direct(entries[0], 5))
    expected = [_direct(entries[0], 5), _direct(entries[1], 0)]
    assert await primary.read(_direct(p4r.TableEntry(table_id=entries[0].table_id))) == expected
    assert await primary.read(p4r.Entity(direct_counter_entry=p4r.DirectCounterEntry())) == expected


async def test_direct_counter_without_data_is_left(primary, entries):
    await primary.write("MODIFY", _direct(entries[0], 5))
    await primary.write("MODIFY", _direct(entries[0]))
    assert await primary.read(_direct(entries[0])) == [_direct(entries[0], 5)]


async def test_direct_resources_of_an_absent_entry_are_not_found(primary, entries, kinds):
    absent = kinds.entry("exact_table", dst=0xFF, port=1)
    meter = p4r.Entity(direct_meter_entry=p4r.DirectMeterEntry(table_entry=absent))
    for entity in (_direct(absent), _direct(absent, 1), meter):
        assert await primary.refused("MODIFY", entity) == (
            "NOT_FOUND",
            "table 'exact_table' has no entry dst=0xff, port=0x1",
        )
        if entity != _direct(absent, 1):
            with pytest.raises(primary.BatchError) as caught:
                await primary.read(entity)
            assert caught.value.errors[0][0] == "NOT_FOUND"


async def test_direct_meter_is_set_read_and_reset(primary, entries):
    config = p4r.MeterConfig(cir=1, cburst=2, pir=3, pburst=4)
    metered = p4r.Entity(direct_meter_entry=p4r.DirectMeterEntry(table_entry=entries[0], config=config))
    plain = [p4r.Entity(direct_meter_entry=p4r.DirectMeterEntry(table_entry=key)) for key in entries]
    await primary.write("MODIFY", metered)
    assert await primary.read(p4r.Entity(direct_meter_entry=p4r.DirectMeterEntry())) == [metered, plain[1]]
    assert await primary.read(plain[0]) == [metered]
    await primary.write("MODIFY", plain[0])
    assert await primary.read(plain[0]) == [plain[0]]


def _cell(index: int | None, packets: int | None = None) -> p4r.Entity:
    return p4r.Entity(
        counter_entry=p4r.CounterEntry(
            counter_id=_COUNTER,
            index=None if index is None else p4r.Index(index=index),
            data=None if packets is None else p4r.CounterData(packet_count=packets, byte_count=packets * 60),
        )
    )


async def test_indirect_counter_cells(rig, primary):
    rig.switch.inject(1, _FRAME)
    assert await primary.read(_cell(1)) == [_cell(1, 1)]
    await primary.write("MODIFY", _cell(3, 7))
    expected = [_cell(index, {1: 1, 3: 7}.get(index, 0)) for index in range(8)]
    assert await primary.read(_cell(None)) == expected
    assert await primary.read(p4r.Entity(counter_entry=p4r.CounterEntry())) == expected
    await primary.write("MODIFY", _cell(None, 2))
    assert await primary.read(_cell(None)) == [_cell(index, 2) for index in range(8)]


def _meter(index: int | None, cir: int | None = None) -> p4r.Entity:
    return p4r.Entity(
        meter_entry=p4r.MeterEntry(
            meter_id=_METER,
            index=None if index is None else p4r.Index(index=index),
            config=None if cir is None else p4r.MeterConfig(cir=cir, cburst=1, pir=cir, pburst=1),
        )
    )


async def test_indirect_meter_cells(primary):
    await primary.write("MODIFY", _meter(2, 100))
    expected = [_meter(0), _meter(1), _meter(2, 100), _meter(3)]
    assert await primary.read(_meter(None)) == expected
    assert await primary.read(p4r.Entity(meter_entry=p4r.MeterEntry())) == expected
    assert await primary.read(_meter(2)) == [_meter(2, 100)]
    await primary.write("MODIFY", _meter(None))
    assert await primary.read(_meter(2)) == [_meter(2)]
