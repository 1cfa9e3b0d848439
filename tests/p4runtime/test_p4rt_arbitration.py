# SPDX-License-Identifier: Apache-2.0
"""Client arbitration over real streams, row by row of the specification's rules."""

from __future__ import annotations

import grpc
import grpc.aio
import pytest
from finsy.proto import p4r

OK, NOT_FOUND, ALREADY_EXISTS = 0, 5, 6


def _election(update: p4r.MasterArbitrationUpdate) -> int | None:
    if not update.HasField("election_id"):
        return None
    return update.election_id.high << 64 | update.election_id.low


async def test_first_client_becomes_primary(client):
    update = await client.claim(5)
    assert (update.status.code, _election(update), update.device_id) == (OK, 5, 1)
    assert not update.HasField("role")


async def test_lower_election_id_is_backup_and_told_the_highest(rig, client):
    await client.claim(5)
    async with rig.client() as other:
        update = await other.claim(4)
        assert (update.status.code, _election(update)) == (ALREADY_EXISTS, 5)


async def test_higher_election_id_takes_over_and_all_are_told(rig, client):
    await client.claim(5)
    async with rig.client() as other:
        assert (await other.claim(6)).status.code == OK
        demoted = await client.arbitration()
        assert (demoted.status.code, _election(demoted)) == (ALREADY_EXISTS, 6)


async def test_primary_leaving_leaves_no_primary_and_promotes_nobody(rig, client):
    await client.claim(4)
    async with rig.client() as other:
        await other.claim(5)
        assert (await client.arbitration()).status.code == ALREADY_EXISTS
    gone = await client.arbitration()
    assert (gone.status.code, _election(gone)) == (NOT_FOUND, 5)
    # Its own 4 is not enough; the highest id ever seen is.
    assert (await client.claim(4)).status.code == NOT_FOUND
    assert (await client.claim(5)).status.code == OK


async def test_a_backup_leaving_tells_nobody(rig, client):
    await client.claim(5)
    async with rig.client() as other:
        await other.claim(4)
    update = await client.claim(5)
    assert (update.status.code, _election(update)) == (OK, 5)


async def test_the_highest_id_is_remembered_without_clients(rig):
    async with rig.client() as first:
        await first.claim(9)
    async with rig.client() as second:
        update = await second.claim(8)
        assert (update.status.code, _election(update)) == (NOT_FOUND, 9)


async def test_primary_may_demote_itself(rig, client):
    await client.claim(5)
    async with rig.client() as other:
        await other.claim(4)
        assert (await client.claim(3)).status.code == NOT_FOUND
        assert (await other.arbitration()).status.code == NOT_FOUND


async def test_unset_election_id_never_becomes_primary(client):
    update = await client.claim(None)
    assert (update.status.code, _election(update)) == (NOT_FOUND, None)


async def test_election_id_zero_is_not_unset(client):
    update = await client.claim(0)
    assert (update.status.code, _election(update)) == (OK, 0)


async def test_election_ids_have_128_bits(rig, client):
    await client.claim(2**64)
    async with rig.client() as other:
        assert (await other.claim(2**64 - 1)).status.code == ALREADY_EXISTS


async def _ends_with(client, code: grpc.StatusCode) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.receive()
    assert caught.value.code() is code
    return caught.value.details() or ""


async def test_duplicate_election_id_ends_the_newcomers_stream(rig, client):
    await client.claim(5)
    async with rig.client() as other:
        await other.send_claim(5)
        message = await _ends_with(other, grpc.StatusCode.INVALID_ARGUMENT)
        assert message == "election id 5 is already used by another client of the default role"
    assert (await client.claim(5)).status.code == OK


async def test_duplicate_id_of_a_backup_counts_too(rig, client):
    await client.claim(5)
    async with rig.client() as second, rig.client() as third:
        await second.claim(4)
        await third.send_claim(4)
        await _ends_with(third, grpc.StatusCode.INVALID_ARGUMENT)


async def test_wrong_device_is_not_found(client):
    await client.send_claim(1, device_id=77)
    message = await _ends_with(client, grpc.StatusCode.NOT_FOUND)
    assert message == "device ID 77 is not here (valid: 1)"


async def test_device_may_not_change_on_a_stream(client):
    await client.claim(1)
    await client.send_claim(1, device_id=2)
    await _ends_with(client, grpc.StatusCode.FAILED_PRECONDITION)


async def test_role_may_not_change_on_a_stream(client):
    await client.claim(1)
    await client.send_claim(1, role="other")
    await _ends_with(client, grpc.StatusCode.FAILED_PRECONDITION)


async def test_each_role_has_a_primary_of_its_own(rig, client):
    await client.claim(5)
    async with rig.client() as other:
        update = await other.claim(3, role="telemetry")
        assert (update.status.code, update.role.name, _election(update)) == (OK, "telemetry", 3)


async def test_role_config_of_the_primary_is_echoed_to_all(rig, client):
    update = p4r.MasterArbitrationUpdate(device_id=1)
    update.role.name = "telemetry"
    update.role.config.type_url, update.role.config.value = "type.example/role", b"abc"
    update.election_id.low = 5
    await client.send(p4r.StreamMessageRequest(arbitration=update))
    await client.arbitration()
    async with rig.client() as other:
        assert (await other.claim(4, role="telemetry")).role.config.value == b"abc"


async def test_only_the_primary_may_set_a_pipeline(rig, client):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.set_pipeline(None, "VERIFY")
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    await client.claim(5)
    async with rig.client() as other:
        await other.claim(4)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await other.set_pipeline(None, "VERIFY")
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert (
        caught.value.details()
        == "not primary: the primary of the default role has election id 5, the request has 4"
    )


async def test_write_checks_device_then_role_then_primary_then_pipeline(client):
    await client.claim(5)
    expected = [
        ({"device_id": 9, "role": "nobody"}, grpc.StatusCode.NOT_FOUND, "device ID 9 is not here (valid: 1)"),
        (
            {"role": "nobody"},
            grpc.StatusCode.NOT_FOUND,
            "role 'nobody' is not known here (known: '(default)')",
        ),
        ({}, grpc.StatusCode.FAILED_PRECONDITION, "No forwarding pipeline config set for this device"),
    ]
    for fields, code, message in expected:
        with pytest.raises(client.BatchError) as caught:
            await client.write_updates([], **fields)
        assert (caught.value.code, caught.value.message) == (code, message)
    client.election_id = 4
    with pytest.raises(client.BatchError) as caught:
        await client.write_updates([])
    assert caught.value.code is grpc.StatusCode.PERMISSION_DENIED


async def test_capabilities(client):
    response = await client.stub.Capabilities(p4r.CapabilitiesRequest())
    assert response.p4runtime_api_version == "1.5.0"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.stub.Capabilities(p4r.CapabilitiesRequest(device_id=4))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_other_stream_messages_before_arbitration_are_errors_not_the_end(client):
    await client.send(p4r.StreamMessageRequest(packet=p4r.PacketOut(payload=b"x")))
    error = (await client.receive()).error
    assert (error.canonical_code, error.packet_out.packet_out.payload) == (7, b"x")
    assert (await client.claim(1)).status.code == OK
