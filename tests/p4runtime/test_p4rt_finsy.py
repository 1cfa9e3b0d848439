# SPDX-License-Identifier: Apache-2.0
"""finsy, the controller library, against the server: pipeline, writes, reads, packets, digests, fail-over."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import finsy as fy
import pytest

_PROGRAMS = Path(__file__).parent / "programs"
_FRAME = bytes.fromhex("00000000000aaa00000000010800") + bytes(46)
_DEADLINE = 20.0


def _options(**fields) -> fy.SwitchOptions:
    return fy.SwitchOptions(
        p4info=_PROGRAMS / "kinds.p4info.txtpb", p4blob=_PROGRAMS / "kinds.json", device_id=1, **fields
    )


@pytest.fixture
async def controller(rig):
    async with asyncio.timeout(_DEADLINE), fy.Switch("sw", rig.server.address, _options()) as switch:
        yield switch


async def test_finsy_writes_reads_and_deletes(controller):
    entries = [
        fy.P4TableEntry("exact_table", match=fy.Match(dst=0xA, port=1), action=fy.Action("to_port", port=2)),
        fy.P4TableEntry("lpm_table", match=fy.Match(src="aa:00:00:00:00:00/8"), action=fy.Action("drop")),
        fy.P4TableEntry(
            "ternary_table",
            match=fy.Match(ether_type="0x800...0x900", port=3),
            action=fy.Action("drop"),
            priority=5,
        ),
    ]
    await controller.write([+entry for entry in entries])
    found = [entry async for entry in controller.read(fy.P4TableEntry()) if not entry.is_const]
    assert [(entry.table_id, entry.action) for entry in found] == [
        ("exact_table", fy.Action("to_port", port=2)),
        ("lpm_table", fy.Action("drop")),
        ("ternary_table", fy.Action("drop")),
    ]
    await controller.delete_all()
    assert [entry async for entry in controller.read(fy.P4TableEntry()) if not entry.is_const] == []


async def test_finsy_sees_per_update_errors(controller):
    def entry() -> fy.P4TableEntry:
        return fy.P4TableEntry(
            "exact_table", match=fy.Match(dst=10, port=1), action=fy.Action("to_port", port=2)
        )

    with pytest.raises(fy.P4ClientError) as caught:
        await controller.write([+entry(), +entry()])
    assert caught.value.code is fy.GRPCStatusCode.UNKNOWN
    codes = {number: detail.canonical_code.name for number, detail in caught.value.details.items()}
    assert codes == {1: "ALREADY_EXISTS"}


async def test_finsy_packets_and_digests(rig, controller):
    entry = fy.P4TableEntry(
        "exact_table", match=fy.Match(dst=0xA, port=4), action=fy.Action("to_controller", reason=9)
    )
    await controller.write([+entry, +fy.P4DigestEntry("seen_t", max_list_size=1)])
    packets, digests = controller.read_packets(), controller.read_digests("seen_t")
    next_packet = asyncio.ensure_future(anext(packets))
    next_digest = asyncio.ensure_future(anext(digests))
    await asyncio.sleep(0)  # both are now subscribed
    rig.switch.inject(4, _FRAME)
    packet = await next_packet
    assert (packet["ingress_port"], packet["reason"], packet.payload) == (4, 9, _FRAME)
    rig.switch.inject(2, _FRAME)
    assert list(await next_digest) == [{"port": 2, "src": 0xAA0000000001, "known": False}]
    await controller.write([fy.P4PacketOut(_FRAME, egress_port=1, pad=0, tag=1)])
    await rig.ports[1].has_sent.wait()
    assert rig.ports[1].sent == [_FRAME]


async def test_a_finsy_backup_takes_over_when_the_primary_leaves(rig, client):
    """finsy starts below an id in use, hears NOT_FOUND when the primary goes, and claims the highest id itself."""
    await client.claim(10)
    is_primary = asyncio.Event()

    async def ready(switch: fy.Switch) -> None:
        if switch.is_primary:
            is_primary.set()
        else:
            await client.channel.close()

    options = _options(ready_handler=ready, initial_election_id=10)
    running = asyncio.create_task(fy.Controller([fy.Switch("sw", rig.server.address, options)]).run())
    try:
        async with asyncio.timeout(_DEADLINE):
            await is_primary.wait()
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
