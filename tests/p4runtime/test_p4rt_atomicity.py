# SPDX-License-Identifier: Apache-2.0
"""ROLLBACK_ON_ERROR and DATAPLANE_ATOMIC: batches applied whole, or undone."""

from __future__ import annotations

import grpc
import pytest
from finsy.proto import p4r
from hvchannel_softswitch.interpreter import Interpreter
from hvchannel_softswitch.switch import Switch

_ALL = (
    "table_entry",
    "action_profile_member",
    "action_profile_group",
    "packet_replication_engine_entry",
    "value_set_entry",
    "register_entry",
)
ATOMIC = ("ROLLBACK_ON_ERROR", "DATAPLANE_ATOMIC")


async def _state(client) -> list[p4r.Entity]:
    return await client.read(*(p4r.Entity(**{kind: {}}) for kind in _ALL))


async def _write(client, atomicity: str, *updates: tuple[str, p4r.Entity]) -> None:
    await client.write_updates(
        [p4r.Update(type=p4r.Update.Type.Value(kind), entity=entity) for kind, entity in updates],
        atomicity=p4r.WriteRequest.Atomicity.Value(atomicity),
    )


def _idle(names, source: int, port: int = 2, **fields) -> p4r.Entity:
    entry = names.entry("idle_table", names.action("to_port", port=port), src=source)
    for name, value in fields.items():
        setattr(entry, name, value)
    return p4r.Entity(table_entry=entry)


def _initial(names, number: int, port: int = 1) -> p4r.Entity:
    action = names.action("to_port", port=port)
    return p4r.Entity(
        table_entry=names.entry("initial_table", action, priority=50, ether_type=(number, number))
    )


def _member(names, number: int, port: int = 2) -> p4r.Entity:
    action = names.action("to_port", port=port).action
    return p4r.Entity(
        action_profile_member=p4r.ActionProfileMember(
            action_profile_id=names.ids["ways"], member_id=number, action=action
        )
    )


def _group(names, number: int, *members: int) -> p4r.Entity:
    group = p4r.ActionProfileGroup(action_profile_id=names.ids["ways"], group_id=number, max_size=3)
    for member in members:
        group.members.add(member_id=member, weight=1)
    return p4r.Entity(action_profile_group=group)


def _one_shot(names, *ports: int) -> p4r.Entity:
    entry = names.entry("few_table", dst=0xA)
    for port in ports:
        entry.action.action_profile_action_set.action_profile_actions.add(
            action=names.action("to_port", port=port).action, weight=1
        )
    return p4r.Entity(table_entry=entry)


def _multicast(number: int, port: int) -> p4r.Entity:
    group = p4r.MulticastGroupEntry(multicast_group_id=number, replicas=[p4r.Replica(egress_port=port)])
    return p4r.Entity(packet_replication_engine_entry={"multicast_group_entry": group})


def _register(names, value: int) -> p4r.Entity:
    entry = p4r.RegisterEntry(register_id=names.ids["last_seen"])
    entry.data.bitstring = bytes([value])
    return p4r.Entity(register_entry=entry)


def _value_set(names, value: int) -> p4r.Entity:
    entry = p4r.ValueSetEntry(value_set_id=names.ids["types"])
    entry.members.add().match.add(field_id=1).exact.value = bytes([value])
    return p4r.Entity(value_set_entry=entry)


def _default(names, port: int) -> p4r.Entity:
    entry = p4r.TableEntry(table_id=names.table_id("idle_table"), is_default_action=True)
    entry.action.CopyFrom(names.action("to_port", port=port))
    return p4r.Entity(table_entry=entry)


@pytest.fixture
async def filled(everything, names):
    """With something of every kind in place."""
    await everything.write("INSERT", _idle(names, 1, metadata=b"m", idle_timeout_ns=77), _idle(names, 2))
    await everything.write("INSERT", *(_initial(names, n) for n in (1, 2, 4)))
    await everything.write("INSERT", _member(names, 1), _member(names, 2), _multicast(1, 2))
    await everything.write("INSERT", _group(names, 1, 1), _one_shot(names, 1, 2))
    await everything.write("MODIFY", _register(names, 3), _value_set(names, 3))
    return everything


@pytest.mark.parametrize("atomicity", ATOMIC)
async def test_a_good_batch_is_applied(filled, names, atomicity):
    await _write(filled, atomicity, ("INSERT", _idle(names, 3)), ("DELETE", _idle(names, 1)))
    entries = [e for e in await _state(filled) if e.table_entry.table_id == names.table_id("idle_table")]
    assert entries == [_idle(names, 2), _idle(names, 3)]


@pytest.mark.parametrize("atomicity", ATOMIC)
async def test_a_refused_batch_leaves_everything_as_it_was(filled, names, atomicity):
    """One update of every kind, then one that is refused: state, cookies and the order of entries are as before."""
    before = await _state(filled)
    updates = [
        ("INSERT", _idle(names, 9)),
        ("MODIFY", _idle(names, 1, 4)),
        ("DELETE", _idle(names, 1)),
        ("DELETE", _initial(names, 1)),
        ("MODIFY", _initial(names, 2, 3)),
        ("MODIFY", _default(names, 3)),
        ("MODIFY", _member(names, 1, 4)),
        ("DELETE", _member(names, 2)),
        ("INSERT", _member(names, 3)),
        ("MODIFY", _group(names, 1, 3)),
        ("INSERT", _group(names, 2, 1)),
        ("MODIFY", _one_shot(names, 4)),
        ("DELETE", _one_shot(names)),
        ("MODIFY", _multicast(1, 3)),
        ("DELETE", _multicast(1, 3)),
        ("INSERT", _multicast(2, 3)),
        ("MODIFY", _register(names, 9)),
        ("MODIFY", _value_set(names, 9)),
        ("INSERT", _idle(names, 2)),
        ("INSERT", _idle(names, 5)),
    ]
    with pytest.raises(filled.BatchError) as caught:
        await _write(filled, atomicity, *updates)
    assert await _state(filled) == before
    assert caught.value.code is grpc.StatusCode.UNKNOWN
    assert caught.value.message == "1 of 20 updates failed: table 'idle_table' already has an entry src=0x2"
    assert [code for code, _ in caught.value.errors] == ["ABORTED"] * 18 + ["ALREADY_EXISTS", "ABORTED"]
    assert caught.value.errors[0] == ("ABORTED", "undone: update 19 of the batch was refused")
    assert caught.value.errors[-1] == ("ABORTED", "not tried: update 19 of the batch was refused")


async def test_an_update_that_cannot_be_read_is_refused_in_its_own_words(filled, names):
    before = await _state(filled)
    bad = _idle(names, 3)
    bad.table_entry.match[0].exact.value = b""
    with pytest.raises(filled.BatchError) as caught:
        await _write(filled, "ROLLBACK_ON_ERROR", ("INSERT", _idle(names, 3)), ("INSERT", bad))
    assert caught.value.errors[1] == (
        "OUT_OF_RANGE",
        "match field 'src' of table 'idle_table' is an empty bytestring; zero is written as one zero byte",
    )
    assert await _state(filled) == before


async def test_counters_and_meters_are_put_back(primary, kinds):
    entry = kinds.entry("exact_table", kinds.action("to_port", port=2), dst=1, port=1)
    entry.meter_config.CopyFrom(p4r.MeterConfig(cir=1, cburst=2, pir=3, pburst=4))
    entry.counter_data.CopyFrom(p4r.CounterData(packet_count=5, byte_count=6))
    await primary.write("INSERT", p4r.Entity(table_entry=entry))
    key = p4r.TableEntry(table_id=entry.table_id, match=entry.match)
    direct = p4r.DirectCounterEntry(table_entry=key, data=p4r.CounterData(packet_count=99))
    counter = p4r.CounterEntry(counter_id=kinds.ids["port_counter"], data=p4r.CounterData(byte_count=7))
    with pytest.raises(primary.BatchError):
        await _write(
            primary,
            "ROLLBACK_ON_ERROR",
            ("MODIFY", p4r.Entity(direct_counter_entry=direct)),
            ("MODIFY", p4r.Entity(direct_meter_entry=p4r.DirectMeterEntry(table_entry=key))),
            ("MODIFY", p4r.Entity(counter_entry=counter)),
            ("INSERT", p4r.Entity()),
        )
    key.counter_data.SetInParent()
    key.meter_config.SetInParent()
    assert await primary.read(p4r.Entity(table_entry=key)) == [p4r.Entity(table_entry=entry)]
    cells = await primary.read(p4r.Entity(counter_entry=p4r.CounterEntry(counter_id=counter.counter_id)))
    assert all(cell.counter_entry.data == p4r.CounterData() for cell in cells)


async def test_where_frames_run_meanwhile_no_batch_is_atomic_for_them(filled, names, monkeypatch):
    monkeypatch.setattr(Interpreter, "atomic_batches", False)
    before = await _state(filled)
    with pytest.raises(filled.BatchError) as caught:
        await _write(filled, "DATAPLANE_ATOMIC", ("INSERT", _idle(names, 3)))
    assert caught.value.code is grpc.StatusCode.UNIMPLEMENTED
    assert caught.value.message == (
        "DATAPLANE_ATOMIC is not supported by the engine in charge, in which frames run during a batch "
        "(valid: CONTINUE_ON_ERROR, ROLLBACK_ON_ERROR)"
    )
    assert await _state(filled) == before
    await _write(filled, "ROLLBACK_ON_ERROR", ("INSERT", _idle(names, 3)))
    assert len(await _state(filled)) == len(before) + 1


async def test_the_engine_is_told_of_the_end_of_each_batch(filled, names, monkeypatch):
    flushes = []

    def flush(engine):
        flushes.append(engine)

    monkeypatch.setattr(Interpreter, "flush", flush)
    await _write(filled, "CONTINUE_ON_ERROR", ("INSERT", _idle(names, 3)), ("INSERT", _idle(names, 4)))
    assert len(flushes) == 1
    with pytest.raises(filled.BatchError):
        await _write(filled, "CONTINUE_ON_ERROR", ("INSERT", _idle(names, 5)), ("INSERT", _idle(names, 5)))
    assert len(flushes) == 2
    with pytest.raises(filled.BatchError):
        await _write(filled, "ROLLBACK_ON_ERROR", ("INSERT", _idle(names, 6)), ("INSERT", _idle(names, 5)))
    assert len(flushes) == 3


async def test_an_engine_is_told_before_it_takes_over(filled, config_of, monkeypatch):
    """What a reconciliation carried over is in force with the pipeline's first frame."""
    order = []
    monkeypatch.setattr(Interpreter, "flush", lambda engine: order.append("flush"))
    commit = Switch.commit
    monkeypatch.setattr(
        Switch, "commit", lambda switch, engine: (order.append("commit"), commit(switch, engine))
    )
    await filled.set_pipeline(config_of("entities"), "RECONCILE_AND_COMMIT")
    assert order == ["flush", "commit"]
