# SPDX-License-Identifier: Apache-2.0
"""Random P4Runtime messages and random packets against a real server: nothing crashes, no stream is lost, and what
Read returns is what the answers said was taken."""

from __future__ import annotations

import copy

import grpc
from finsy.proto import p4r
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

_small = st.integers(0, 3)


def _bytes(width: int) -> st.SearchStrategy[bytes]:
    return st.integers(0, 2**width - 1).map(lambda v: v.to_bytes(max(1, (v.bit_length() + 7) // 8), "big"))


def _action(names, data) -> p4r.TableAction:
    name = data.draw(st.sampled_from(["to_port", "to_port", "to_port", "drop", "rewrite"]))
    return names.action(name, **{p.name: data.draw(_small) for p in names.actions[name].params})


def _valid_entry(names, data) -> p4r.TableEntry:
    """Of few keys, so that they meet often; not all actions go with all tables."""
    match data.draw(st.sampled_from(["exact_table", "lpm_table", "ternary_table"])):
        case "exact_table":
            entry = names.entry("exact_table", dst=data.draw(_small), port=1)
        case "lpm_table":
            entry = names.entry("lpm_table", src=(data.draw(_small) << 46, data.draw(st.integers(2, 4))))
        case _:
            entry = names.entry("ternary_table", priority=1 + data.draw(_small), dst=(0x10, 0xF0))
    entry.action.CopyFrom(_action(names, data))
    return entry


def _drop_key(entry, data):
    if entry.match:
        del entry.match[0]


def _double_key(entry, data):
    if entry.match:
        entry.match.append(entry.match[0])


def _wrong_kind(entry, data):
    for match in entry.match:
        match.range.low, match.range.high = b"\1", data.draw(_bytes(16))


def _wide_value(entry, data):
    for match in entry.match:
        match.exact.value = data.draw(_bytes(200))


def _junk_value(entry, data):
    for match in entry.match:
        match.ternary.value, match.ternary.mask = (
            data.draw(st.binary(max_size=9)),
            data.draw(st.binary(max_size=9)),
        )


def _wrong_param(entry, data):
    for param in entry.action.action.params:
        param.value = data.draw(st.binary(max_size=3))
        param.param_id = data.draw(_small)


_numbers = st.integers(0, 2**32 - 1)
_int32 = st.integers(-(2**31), 2**31 - 1)
_int64 = st.integers(-(2**63), 2**63 - 1)
_MUTATIONS = {
    "none": lambda entry, data: None,
    "table": lambda entry, data: setattr(entry, "table_id", data.draw(_numbers)),
    "action": lambda entry, data: setattr(entry.action.action, "action_id", data.draw(_numbers)),
    "no action": lambda entry, data: entry.ClearField("action"),
    "member": lambda entry, data: setattr(entry.action, "action_profile_member_id", data.draw(_numbers)),
    "one-shot": lambda entry, data: entry.action.action_profile_action_set.action_profile_actions.add(
        weight=1
    ),
    "field id": lambda entry, data: [setattr(m, "field_id", data.draw(_numbers)) for m in entry.match],
    "priority": lambda entry, data: setattr(entry, "priority", data.draw(_int32)),
    "missing key": _drop_key,
    "key twice": _double_key,
    "kind": _wrong_kind,
    "width": _wide_value,
    "junk": _junk_value,
    "parameters": _wrong_param,
    "const": lambda entry, data: setattr(entry, "is_const", True),
    "timeout": lambda entry, data: setattr(entry, "idle_timeout_ns", data.draw(_int64)),
    "default": lambda entry, data: setattr(entry, "is_default_action", True),
    "meter": lambda entry, data: entry.meter_config.MergeFrom(p4r.MeterConfig(cir=data.draw(_int64))),
    "counter": lambda entry, data: entry.counter_data.MergeFrom(
        p4r.CounterData(packet_count=data.draw(_int64))
    ),
}

_MOSTLY_VALID = ["none"] * 2 * len(_MUTATIONS) + sorted(_MUTATIONS)


def _other_entity(names, data) -> p4r.Entity:
    """Nearly valid entities of the other kinds: nothing here must do harm."""
    number, index = data.draw(st.sampled_from([0, 1, *names.ids.values()])), data.draw(st.integers(-1, 9))
    p4data = {"bitstring": data.draw(st.binary(max_size=5))}
    replicas = [p4r.Replica(egress_port=data.draw(st.integers(0, 600)), instance=data.draw(_small))]
    members = [{"member_id": data.draw(_small), "weight": data.draw(_int32)}]
    return data.draw(
        st.sampled_from(
            [
                p4r.Entity(),
                p4r.Entity(register_entry={"register_id": number, "index": {"index": index}, "data": p4data}),
                p4r.Entity(counter_entry={"counter_id": number, "index": {"index": index}}),
                p4r.Entity(meter_entry={"meter_id": number, "config": {"cir": data.draw(_int64)}}),
                p4r.Entity(digest_entry={"digest_id": number}),
                p4r.Entity(value_set_entry={"value_set_id": number, "members": [{}]}),
                p4r.Entity(
                    action_profile_member={"action_profile_id": number, "member_id": data.draw(_small)}
                ),
                p4r.Entity(
                    action_profile_group={
                        "action_profile_id": number,
                        "group_id": 1,
                        "members": members,
                        "max_size": 2,
                    }
                ),
                p4r.Entity(
                    packet_replication_engine_entry={
                        "multicast_group_entry": {
                            "multicast_group_id": data.draw(_small),
                            "replicas": replicas,
                        }
                    }
                ),
                p4r.Entity(extern_entry={"extern_type_id": data.draw(_small)}),
            ]
        )
    )


def _updates(names, data) -> list[p4r.Update]:
    updates = []
    for _ in range(data.draw(st.integers(1, 8))):
        if data.draw(st.sampled_from([False] * 7 + [True])):
            entity = _other_entity(names, data)
        else:
            entry = _valid_entry(names, data)
            _MUTATIONS[data.draw(st.sampled_from(_MOSTLY_VALID))](entry, data)
            entity = p4r.Entity(table_entry=entry)
        updates.append(
            p4r.Update(
                type=data.draw(st.sampled_from(["INSERT"] * 6 + ["MODIFY", "DELETE"] * 2 + ["UNSPECIFIED"])),
                entity=entity,
            )
        )
    return updates


def _key(entry: p4r.TableEntry) -> bytes:
    matches = sorted(entry.match, key=lambda match: match.field_id)
    return p4r.TableEntry(table_id=entry.table_id, match=matches, priority=entry.priority).SerializeToString(
        deterministic=True
    )


def _canonical(entry: p4r.TableEntry) -> p4r.TableEntry:
    """Without leading zeros, which a read drops."""
    entry = copy.deepcopy(entry)
    for match in entry.match:
        for kind, fields in (
            ("exact", ["value"]),
            ("ternary", ["value", "mask"]),
            ("range", ["low", "high"]),
        ):
            if match.HasField(kind):
                for name in fields:
                    value = getattr(getattr(match, kind), name)
                    setattr(getattr(match, kind), name, value.lstrip(b"\0") or b"\0")
    for param in entry.action.action.params:
        param.value = param.value.lstrip(b"\0") or b"\0"
    entry.action.action.params.sort(key=lambda param: param.param_id)
    return entry


def _apply(model: dict[bytes, p4r.TableEntry], update: p4r.Update) -> None:
    """What an update that was taken does to the entries."""
    if update.entity.WhichOneof("entity") != "table_entry" or update.entity.table_entry.is_default_action:
        return
    entry = _canonical(update.entity.table_entry)
    kind = p4r.Update.Type.Name(update.type)
    if kind == "DELETE":
        del model[_key(entry)]
    elif entry.HasField("action"):
        assert (kind == "INSERT") != (_key(entry) in model)
        model[_key(entry)] = entry
    else:
        assert _key(entry) in model


def _what_reads_show(entry: p4r.TableEntry) -> bytes:
    shown = p4r.TableEntry(
        table_id=entry.table_id,
        match=sorted(entry.match, key=lambda match: match.field_id),
        action=entry.action,
        priority=entry.priority,
    )
    return shown.SerializeToString(deterministic=True)


async def _codes(client, updates: list[p4r.Update], atomicity: int) -> list[str]:
    try:
        await client.write_updates(updates, atomicity=atomicity)
    except client.BatchError as error:
        assert error.code is grpc.StatusCode.UNKNOWN, error
        return [code for code, _ in error.errors]
    return ["OK"] * len(updates)


_SETTINGS = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)


@_SETTINGS
@given(st.data())
async def test_messages(primary, kinds, config_of, data):
    """Valid and nearly valid batches in all three atomicities: the model of what was taken is what Read returns."""
    client, names = primary, kinds
    model: dict[bytes, p4r.TableEntry] = {}
    await client.set_pipeline(config_of("kinds"))
    for _ in range(data.draw(st.integers(1, 4))):
        updates, atomicity = _updates(names, data), data.draw(st.sampled_from([0, 0, 0, 1, 2]))
        codes = await _codes(client, updates, atomicity)
        assert "INTERNAL" not in codes
        assert "UNKNOWN" not in codes
        if atomicity == 0 or set(codes) == {"OK"}:
            for update, code in zip(updates, codes, strict=True):
                if code == "OK":
                    _apply(model, update)
        found = await client.read(p4r.Entity(table_entry=p4r.TableEntry()))
        there = sorted(_what_reads_show(e.table_entry) for e in found if not e.table_entry.is_const)
        assert there == sorted(map(_what_reads_show, model.values()))
    # Still primary on the same stream.
    await client.send_claim(client.election_id)
    assert (await client.receive()).arbitration.status.code == 0


@_SETTINGS
@given(st.data())
async def test_every_entity(everything, names, config_of, data):
    """Nearly valid entities of every kind against a program that has them all: each is taken or refused with a code
    of the specification, and a read of everything still works."""
    await everything.set_pipeline(config_of("entities"))
    for _ in range(4):
        updates = [
            p4r.Update(type=data.draw(st.sampled_from([1, 2, 3])), entity=_other_entity(names, data))
            for _ in range(data.draw(st.integers(1, 8)))
        ]
        codes = await _codes(everything, updates, data.draw(st.integers(0, 2)))
        assert not {"INTERNAL", "UNKNOWN"} & set(codes)
    wildcards = [field.name for field in p4r.Entity.DESCRIPTOR.fields]
    await everything.read(*(p4r.Entity(**{name: {}}) for name in wildcards))
    await everything.send_claim(everything.election_id)
    assert (await everything.receive()).arbitration.status.code == 0


@_SETTINGS
@given(
    st.lists(st.tuples(st.sampled_from([1, 2, 3, 4, 9, 510]), st.binary(max_size=80)), max_size=20), st.data()
)
async def test_packets_while_entries_change(rig, everything, names, packets, data):
    """Random frames on all ports, cut anywhere, between random writes: no packet meets a defect."""
    for port, frame in packets:
        if data.draw(st.booleans()):
            entry = names.entry(
                "idle_table", names.action("flood", group=data.draw(_small)), src=data.draw(_small)
            )
            kind = data.draw(st.sampled_from([1, 2, 3]))
            updates = [
                p4r.Update(type=kind, entity=p4r.Entity(table_entry=entry)),
                p4r.Update(type=kind, entity=_other_entity(names, data)),
            ]
            await _codes(everything, updates, 0)
        rig.switch.inject(port, frame)
    assert rig.switch.engine.faults == 0
