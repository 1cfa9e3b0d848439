# SPDX-License-Identifier: Apache-2.0
"""Packet I/O and digests on the stream, through the real data path."""

from __future__ import annotations

import asyncio

import pytest
from finsy.proto import p4d, p4r

_FRAME = bytes.fromhex("00000000000aaa00000000010800") + bytes(46)
_SEEN = 400386219
_SECOND = 1_000_000_000
_HOUR = 3600 * _SECOND


def _packet_out(payload: bytes = _FRAME, **values: int) -> p4r.StreamMessageRequest:
    ids = {"egress_port": 1, "pad": 2, "tag": 3}
    packet = p4r.PacketOut(payload=payload)
    for name, value in values.items():
        packet.metadata.add(metadata_id=ids[name], value=value.to_bytes(4, "big"))
    return p4r.StreamMessageRequest(packet=packet)


async def test_packet_out_leaves_by_its_port_in_any_order_of_metadata(rig, primary):
    await primary.send(_packet_out(tag=5, egress_port=3, pad=0))
    await primary.send(_packet_out(pad=0, egress_port=999, tag=0))
    assert (await primary.receive()).HasField("error")
    assert rig.ports[3].sent == [_FRAME]


@pytest.mark.parametrize(
    ("values", "code", "message"),
    [
        ({"egress_port": 1, "pad": 0}, 3, "packet_out needs every metadata field (missing: 'tag' (ID 3))"),
        (
            {"egress_port": 512, "pad": 0, "tag": 0},
            11,
            "packet_out metadata 'egress_port' value 0x0200 does not fit in 9 bits",
        ),
    ],
)
async def test_bad_packet_out_is_a_stream_error_with_the_packet(primary, values, code, message):
    request = _packet_out(**values)
    await primary.send(request)
    error = (await primary.receive()).error
    assert (error.canonical_code, error.message) == (code, message)
    assert error.packet_out.packet_out == request.packet


async def test_unknown_and_repeated_metadata_are_refused(primary):
    request = _packet_out(egress_port=1, pad=0, tag=0)
    request.packet.metadata.add(metadata_id=7, value=b"\0")
    await primary.send(request)
    assert (await primary.receive()).error.message == (
        "metadata ID 7 is not in packet_out (valid: 'egress_port' (ID 1), 'pad' (ID 2), 'tag' (ID 3))"
    )
    request.packet.metadata[-1].metadata_id = 3
    await primary.send(request)
    assert (await primary.receive()).error.message == "packet_out metadata 'tag' (ID 3) is given twice"


async def test_packet_out_of_a_backup_is_refused(rig, primary):
    async with rig.client() as backup:
        await backup.claim(0)
        await backup.send(_packet_out(egress_port=1, pad=0, tag=0))
        error = (await backup.receive()).error
    assert (error.canonical_code, error.message) == (7, "not primary: only the primary may send a packet-out")
    assert rig.ports[1].sent == []


async def test_packet_in_goes_to_the_primary_only_with_its_metadata(rig, primary, kinds):
    entry = kinds.entry("exact_table", kinds.action("to_controller", reason=9), dst=0xA, port=4)
    await primary.write("INSERT", p4r.Entity(table_entry=entry))
    async with rig.client() as backup:
        await backup.claim(0)
        rig.switch.inject(4, _FRAME)
        packet = (await primary.receive()).packet
        assert packet.payload == _FRAME
        assert [(m.metadata_id, m.value) for m in packet.metadata] == [(1, b"\x04"), (2, b"\x09")]
        # The backup's next message is the answer to its own claim, so nothing came before.
        assert (await backup.claim(0)).status.code == 6


def _config(entry: dict[str, int]) -> p4r.Entity:
    return p4r.Entity(digest_entry=p4r.DigestEntry(digest_id=_SEEN, config=p4r.DigestEntry.Config(**entry)))


def _frame(source: int) -> bytes:
    return bytes(6) + source.to_bytes(6, "big") + b"\x12\x34" + bytes(46)


async def _digest(client) -> p4r.DigestList:
    response = await client.receive()
    assert response.HasField("digest"), response
    return response.digest


def _sources(digests: p4r.DigestList) -> list[int]:
    return [int.from_bytes(data.struct.members[1].bitstring, "big") for data in digests.data]


async def test_digest_carries_its_members_by_type(rig, primary):
    await primary.write("INSERT", _config({}))
    rig.switch.inject(1, _frame(0xAB))
    digests = await _digest(primary)
    assert digests.digest_id == _SEEN
    assert digests.timestamp > 0
    members = [p4d.P4Data(bitstring=b"\1"), p4d.P4Data(bitstring=b"\xab"), p4d.P4Data(bool=True)]
    assert list(digests.data) == [p4d.P4Data(struct=p4d.P4StructLike(members=members))]


async def test_digests_are_bundled_and_deduplicated_up_to_the_list_size(rig, primary):
    await primary.write(
        "INSERT", _config({"max_timeout_ns": _HOUR, "max_list_size": 3, "ack_timeout_ns": _HOUR})
    )
    for source in (1, 2, 1, 2, 3, 1, 4, 5, 6):
        rig.switch.inject(1, _frame(source))
    first, second = await _digest(primary), await _digest(primary)
    assert (_sources(first), _sources(second)) == ([1, 2, 3], [4, 5, 6])
    assert second.list_id > first.list_id


async def test_an_acknowledged_digest_may_come_again(rig, primary):
    await primary.write("INSERT", _config({"max_list_size": 1, "ack_timeout_ns": _HOUR}))
    for source in (1, 1, 2):
        rig.switch.inject(1, _frame(source))
    first, second = await _digest(primary), await _digest(primary)
    assert (_sources(first), _sources(second)) == ([1], [2])
    ack = p4r.DigestListAck(digest_id=_SEEN, list_id=first.list_id)
    await primary.send(p4r.StreamMessageRequest(digest_ack=ack))
    # Arbitration is answered after the acknowledgement has been taken.
    await primary.claim(1)
    for source in (1, 2):
        rig.switch.inject(1, _frame(source))
    assert _sources(await _digest(primary)) == [1]


async def test_a_buffered_digest_is_sent_after_its_timeout(rig, primary):
    await primary.write("INSERT", _config({"max_timeout_ns": _SECOND // 50, "max_list_size": 100}))
    rig.switch.inject(1, _frame(1))
    assert _sources(await _digest(primary)) == [1]


async def test_an_overdue_acknowledgement_frees_the_digest(rig, primary):
    await primary.write("INSERT", _config({"max_list_size": 1, "ack_timeout_ns": _SECOND // 50}))
    rig.switch.inject(1, _frame(1))
    assert _sources(await _digest(primary)) == [1]
    again = asyncio.create_task(_digest(primary))
    while not again.done():
        rig.switch.inject(1, _frame(1))
        await asyncio.sleep(0.005)
    assert _sources(await again) == [1]


async def test_digest_entries_are_read_modified_and_deleted(rig, primary):
    wildcard = p4r.Entity(digest_entry=p4r.DigestEntry())
    assert await primary.read(wildcard) == []
    await primary.write("INSERT", _config({"max_list_size": 3}))
    assert await primary.read(wildcard) == [_config({"max_list_size": 3})]
    assert (await primary.refused("INSERT", _config({})))[0] == "ALREADY_EXISTS"
    await primary.write("MODIFY", _config({"max_list_size": 4}))
    asked = p4r.Entity(digest_entry=p4r.DigestEntry(digest_id=_SEEN))
    assert await primary.read(asked) == [_config({"max_list_size": 4})]
    await primary.write("DELETE", asked)
    assert await primary.read(wildcard) == []
    rig.switch.inject(1, _frame(1))
    assert (await primary.claim(1)).status.code == 0


async def test_an_unknown_digest_ack_is_a_stream_error(primary):
    ack = p4r.DigestListAck(digest_id=5, list_id=1)
    await primary.send(p4r.StreamMessageRequest(digest_ack=ack))
    error = (await primary.receive()).error
    assert (error.canonical_code, error.message) == (3, "digest ID 5 is not in the P4Info")
    assert error.digest_list_ack.digest_list_ack == ack
