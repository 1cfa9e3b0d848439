# SPDX-License-Identifier: Apache-2.0
"""SetForwardingPipelineConfig and GetForwardingPipelineConfig in all their actions and response types."""

from __future__ import annotations

import json
from pathlib import Path

import grpc
import grpc.aio
import pytest
from finsy.proto import p4i, p4r
from google.protobuf import text_format

_PROGRAMS = Path(__file__).parent / "programs"
_FRAME = bytes.fromhex("000000000002aa00000000010800") + bytes(46)


def _config(name: str) -> p4r.ForwardingPipelineConfig:
    info = text_format.Parse((_PROGRAMS / f"{name}.p4info.txtpb").read_text(), p4i.P4Info())
    return p4r.ForwardingPipelineConfig(
        p4info=info, p4_device_config=(_PROGRAMS / f"{name}.json").read_bytes()
    )


@pytest.fixture
async def claimed(client):
    await client.claim(1)
    return client


async def _refused(client, config, action: str = "VERIFY_AND_COMMIT") -> tuple[str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.set_pipeline(config, action)
    return caught.value.code().name, caught.value.details() or ""


def _lpm_entry(config: p4r.ForwardingPipelineConfig, port: int) -> p4r.Entity:
    table = next(t for t in config.p4info.tables if t.preamble.alias == "lpm_table")
    action = next(a for a in config.p4info.actions if a.preamble.alias == "to_port")
    entry = p4r.TableEntry(table_id=table.preamble.id, metadata=b"kept")
    match = entry.match.add(field_id=1)
    match.lpm.value, match.lpm.prefix_len = b"\xaa\x00\x00\x00\x00\x00", 8
    entry.action.action.action_id = action.preamble.id
    entry.action.action.params.add(param_id=1, value=bytes([port]))
    return p4r.Entity(table_entry=entry)


async def test_without_a_pipeline_get_has_no_config_and_read_fails(claimed):
    assert not (await claimed.get_pipeline()).HasField("config")
    with pytest.raises(claimed.BatchError) as caught:
        await claimed.read(p4r.Entity(table_entry=p4r.TableEntry()))
    assert caught.value.code is grpc.StatusCode.FAILED_PRECONDITION
    assert caught.value.message == "No forwarding pipeline config set for this device"


async def test_get_returns_what_was_set_part_by_part(claimed):
    config = _config("kinds")
    config.cookie.cookie = 99
    await claimed.set_pipeline(config)
    assert (await claimed.get_pipeline("ALL")).config == config
    cookie = p4r.ForwardingPipelineConfig(cookie=config.cookie)
    assert (await claimed.get_pipeline("COOKIE_ONLY")).config == cookie
    info = p4r.ForwardingPipelineConfig(cookie=config.cookie, p4info=config.p4info)
    assert (await claimed.get_pipeline("P4INFO_AND_COOKIE")).config == info
    code = p4r.ForwardingPipelineConfig(cookie=config.cookie, p4_device_config=config.p4_device_config)
    assert (await claimed.get_pipeline("DEVICE_CONFIG_AND_COOKIE")).config == code


async def test_verify_changes_nothing(claimed):
    await claimed.set_pipeline(_config("kinds"), "VERIFY")
    assert not (await claimed.get_pipeline()).HasField("config")


async def test_commit_clears_the_forwarding_state(claimed):
    config = _config("forward")
    for _ in range(2):
        await claimed.set_pipeline(config)
        assert await claimed.read(p4r.Entity(table_entry=p4r.TableEntry())) == []
        await claimed.write("INSERT", _lpm_entry(config, 1))


async def test_a_saved_pipeline_takes_writes_but_packets_only_after_commit(rig, claimed, kinds):
    running, saved = _config("kinds"), _config("forward")
    await claimed.set_pipeline(running)
    entry = kinds.entry("exact_table", kinds.action("to_port", port=1), dst=2, port=3)
    await claimed.write("INSERT", p4r.Entity(table_entry=entry))
    await claimed.set_pipeline(saved, "VERIFY_AND_SAVE")
    await claimed.write("INSERT", _lpm_entry(saved, 2))
    rig.switch.inject(3, _FRAME)
    assert (len(rig.ports[1].sent), len(rig.ports[2].sent)) == (1, 0)
    await claimed.set_pipeline(None, "COMMIT")
    assert len(await claimed.read(p4r.Entity(table_entry=p4r.TableEntry()))) == 1
    rig.switch.inject(3, _FRAME)
    assert (len(rig.ports[1].sent), len(rig.ports[2].sent)) == (1, 1)


async def test_commit_needs_a_saved_pipeline_and_no_config(claimed):
    expected = ("NOT_FOUND", "no saved config to commit (VERIFY_AND_SAVE one first)")
    assert await _refused(claimed, None, "COMMIT") == expected
    await claimed.set_pipeline(_config("forward"))
    assert await _refused(claimed, None, "COMMIT") == expected
    code, _ = await _refused(claimed, _config("forward"), "COMMIT")
    assert code == "INVALID_ARGUMENT"


async def test_reconcile_keeps_entries_counters_and_cookies(rig, claimed):
    config = _config("forward")
    await claimed.set_pipeline(config, "RECONCILE_AND_COMMIT")
    entry = _lpm_entry(config, 2)
    await claimed.write("INSERT", entry)
    await claimed.set_pipeline(config, "RECONCILE_AND_COMMIT")
    assert await claimed.read(p4r.Entity(table_entry=p4r.TableEntry())) == [entry]
    rig.switch.inject(3, _FRAME)
    assert len(rig.ports[2].sent) == 1


async def test_reconcile_names_what_cannot_be_kept_and_keeps_the_old(rig, claimed):
    config = _config("kinds")
    await claimed.set_pipeline(config)
    table = next(t for t in config.p4info.tables if t.preamble.alias == "ternary_table")
    entry = p4r.TableEntry(table_id=table.preamble.id, priority=1)
    entry.action.action.action_id = next(
        a for a in config.p4info.actions if a.preamble.alias == "drop"
    ).preamble.id
    await claimed.write("INSERT", p4r.Entity(table_entry=entry))
    assert await _refused(claimed, _config("forward"), "RECONCILE_AND_COMMIT") == (
        "INVALID_ARGUMENT",
        "the forwarding state cannot be kept: table 'ingress.ternary_table' is not in the new program",
    )
    assert (await claimed.get_pipeline()).config == config


async def test_wrapped_device_config_is_unwrapped(claimed):
    config = _config("forward")
    data = config.p4_device_config
    length = bytes([len(data) & 0x7F | 0x80, len(data) >> 7])
    config.p4_device_config = b"\x08\x01" + b"\x1a" + length + data
    await claimed.set_pipeline(config)
    assert (await claimed.get_pipeline()).config == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c.ClearField("p4info"),
            "the config has no p4info (valid: the P4Info that p4c wrote beside the JSON)",
        ),
        (
            lambda c: setattr(c, "p4_device_config", b""),
            "p4_device_config is empty (valid: the JSON that p4c-bm2-ss writes)",
        ),
        (
            lambda c: setattr(c, "p4_device_config", b"\x7fELF"),
            "p4_device_config is neither a bmv2 JSON nor a p4.tmp.P4DeviceConfig holding one",
        ),
        (
            lambda c: setattr(c.p4info.tables[0].preamble, "name", "ingress.gone"),
            "table 'ingress.gone' is in the P4Info but not in the device config (there: 'ingress.lpm_table')",
        ),
        (
            lambda c: setattr(c.p4info.actions[0].preamble, "name", "gone"),
            "action 'gone' is in the P4Info but not in the device config (there: 'ingress.drop', 'ingress.to_port')",
        ),
        (
            lambda c: c.p4info.tables.pop(),
            "table 'ingress.lpm_table' is in the device config but not in the P4Info (there: none)",
        ),
        (
            lambda c: setattr(c.p4info.tables[0].match_fields[0], "name", "dst"),
            "table 'ingress.lpm_table' has keys ['dst'] in the P4Info but ['src'] in the device config",
        ),
        (
            lambda c: setattr(c.p4info.tables[0].match_fields[0], "bitwidth", 32),
            "key 'src' of table 'ingress.lpm_table' has 32 bits in the P4Info but 48 in the device config",
        ),
        (
            lambda c: setattr(c.p4info.tables[0].match_fields[0], "match_type", 2),
            "key 'src' of table 'ingress.lpm_table' is exact in the P4Info but lpm in the device config",
        ),
        (
            lambda c: c.p4info.digests.add().preamble.MergeFrom(p4i.Preamble(id=1, name="d", alias="d")),
            "member 'd' of digest 'd' has a type this switch cannot send (valid: bit, int, bool, serializable enum)",
        ),
        (
            lambda c: c.p4info.action_profiles.add().preamble.MergeFrom(
                p4i.Preamble(id=1, name="p", alias="p")
            ),
            "action profile 'p' is in the P4Info but not in the device config (there: none)",
        ),
    ],
)
async def test_a_config_that_does_not_fit_is_refused_by_name(claimed, change, message):
    config = _config("forward")
    change(config)
    assert await _refused(claimed, config, "VERIFY") == ("INVALID_ARGUMENT", message)


async def test_a_program_the_switch_does_not_know_is_refused_with_the_loaders_reason(claimed):
    config = _config("forward")
    program = json.loads(config.p4_device_config)
    del program["pipelines"]
    config.p4_device_config = json.dumps(program).encode()
    code, message = await _refused(claimed, config)
    assert code == "INVALID_ARGUMENT"
    assert message.startswith("p4_device_config: ")
    assert "no pipeline 'ingress'" in message


@pytest.mark.parametrize("action", ["VERIFY", "VERIFY_AND_SAVE", "VERIFY_AND_COMMIT", "RECONCILE_AND_COMMIT"])
async def test_a_config_is_needed(claimed, action):
    assert await _refused(claimed, None, action) == ("INVALID_ARGUMENT", f"{action} needs a config")


async def test_the_action_is_needed(claimed):
    code, message = await _refused(claimed, _config("forward"), "UNSPECIFIED")
    assert code == "INVALID_ARGUMENT"
    assert message == (
        "the action is unspecified (valid: VERIFY, VERIFY_AND_SAVE, VERIFY_AND_COMMIT, COMMIT, RECONCILE_AND_COMMIT)"
    )


async def test_a_pipeline_larger_than_grpcs_default_limit_is_taken(claimed):
    config = _config("forward")
    config.p4_device_config += b" " * (6 << 20)
    await claimed.set_pipeline(config, "VERIFY")
