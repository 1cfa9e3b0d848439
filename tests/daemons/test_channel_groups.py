# SPDX-License-Identifier: Apache-2.0
"""guestd's end of groups against a hypervisor that is moved by hand."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hvchannel_daemons import limits
from hvchannel_daemons.channel import channel_pb2 as pb

STORED, STALE, REJECTED = pb.DocumentAck.STORED, pb.DocumentAck.STALE, pb.DocumentAck.REJECTED


def begin(key: str, revision: int, content: bytes = b"", **changes) -> pb.DocumentBegin:
    fields = {
        "key": key,
        "revision": revision,
        "sha256": hashlib.sha256(content).digest(),
        "size": len(content),
        "data": content[: limits.PIECE_BYTES],
    }
    return pb.DocumentBegin(**(fields | changes))


@pytest.fixture
async def host(rig, short_dir: Path) -> AsyncIterator:
    async with (
        rig.guestd(short_dir, "127.0.0.1:0", files=short_dir / "files") as port,
        rig.raw_host(f"127.0.0.1:{port}") as host,
    ):
        await host.hello(max_version=2)
        host.files = short_dir / "files"
        yield host


async def send_group(host, *documents: pb.DocumentBegin, size: int = 100) -> None:
    await host.send(group_begin=pb.GroupBegin(members=len(documents), size=size))
    for document in documents:
        await host.send(begin=document)
    await host.send(group_end=pb.GroupEnd())


async def acks(host, count: int) -> dict[str, tuple[int, int]]:
    got = [await host.ack() for _ in range(count)]
    return {ack.key: (ack.revision, ack.outcome) for ack in got}


async def test_a_group_is_stored_and_acknowledged(host) -> None:
    await host.send(begin=begin("gone", 1))
    await host.ack()
    await send_group(
        host,
        begin("a", 4, b"1"),
        begin("b/c", 2, b"2"),
        pb.DocumentBegin(key="gone", revision=2, deleted=True),
    )
    assert await acks(host, 3) == {"a": (4, STORED), "b/c": (2, STORED), "gone": (2, STORED)}
    assert [(host.files / name).exists() for name in ("a", "b/c", "gone")] == [True, True, False]


async def test_the_newest_revision_of_each_key_wins(host) -> None:
    await host.send(begin=begin("a", 5, b"newer"))
    await host.ack()
    await send_group(host, begin("a", 4, b"1"), begin("b", 4, b"2"))
    assert await acks(host, 2) == {"a": (4, STALE), "b": (4, STORED)}
    assert (host.files / "a").read_bytes() == b"newer"


async def test_an_abandoned_group_leaves_nothing(host) -> None:
    await host.send(group_begin=pb.GroupBegin(members=2, size=2 * limits.MIB))
    await host.send(begin=begin("a", 1, b"1"))
    await host.send(begin=begin("big", 1, bytes(limits.MIB)))  # half sent
    await host.send(group_end=pb.GroupEnd(abandoned=True))
    await host.send(begin=begin("c", 1))
    assert await acks(host, 1) == {"c": (1, STORED)}
    assert sorted(p.name for p in host.files.iterdir()) == [".hvchannel", "c"]
    await send_group(host, begin("a", 1, b"1"))
    assert await acks(host, 1) == {"a": (1, STORED)}


@pytest.mark.parametrize(
    ("wrong", "outcome"),
    [
        (begin("a b", 1), REJECTED),
        (
            begin("b", 1, b"x", sha256=bytes(32)),
            pb.DocumentAck.FAILED,
        ),  # damaged on its way: may be sent again
        (begin("a", 2), REJECTED),
    ],
    ids=str,
)
async def test_a_wrong_member_has_all_refused(
    host, wrong: pb.DocumentBegin, outcome: pb.DocumentAck.Outcome.ValueType
) -> None:
    await send_group(host, begin("a", 1), wrong, begin("c", 1))
    answers = [await host.ack() for _ in range(3)]
    assert {ack.outcome for ack in answers} == {outcome}
    assert all("its group was refused: " in ack.error for ack in answers)
    await host.send(begin=begin("d", 1))
    assert await acks(host, 1) == {"d": (1, STORED)}
    assert sorted(p.name for p in host.files.iterdir()) == [".hvchannel", "d"]


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ([{"group_end": pb.GroupEnd()}], "GroupEnd without a GroupBegin"),
        ([{"group_begin": pb.GroupBegin()}], "a group of 0 documents"),
        ([{"group_begin": pb.GroupBegin(members=257)}], "a group of 257 documents"),
        ([{"group_begin": pb.GroupBegin(members=1, size=limits.GROUP_BYTES + 1)}], "bytes"),
        ([{"group_begin": pb.GroupBegin(members=1)}] * 2, "a GroupBegin before the GroupEnd"),
        ([{"group_begin": pb.GroupBegin(members=1)}, {"group_end": pb.GroupEnd()}], "declared were 1"),
        ([{"group_begin": pb.GroupBegin(members=1)}, {"begin": begin("a", 1, b"x")}], "more in a group"),
    ],
)
async def test_a_senseless_group_closes_the_session(host, messages: list, why: str) -> None:
    for message in messages:
        await host.send(**message)
    answer = await host.receive()
    assert answer.closing.reason == pb.Closing.PROTOCOL_ERROR
    assert why in answer.closing.message
