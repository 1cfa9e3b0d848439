# SPDX-License-Identifier: Apache-2.0
"""guestd's end of the protocol against hypervisors that are right, wrong or gone;
the peer is moved by hand."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from hvchannel_daemons import limits
from hvchannel_daemons.channel import channel_pb2 as pb
from hvchannel_daemons.channel.versions import VersionMismatch, Versions, negotiate
from hvchannel_daemons.guestd.client import GuestClient
from hypothesis import given
from hypothesis import strategies as st


def begin(key: str, revision: int, content: bytes = b"", **changes) -> pb.DocumentBegin:
    fields = {
        "key": key,
        "revision": revision,
        "content_type": "text/plain",
        "sha256": hashlib.sha256(content).digest(),
        "size": len(content),
        "data": content[: limits.PIECE_BYTES],
    }
    return pb.DocumentBegin(**(fields | changes))


@pytest.fixture
async def guest(rig, short_dir: Path) -> AsyncIterator[str]:
    """A running guestd; the address of its channel."""
    async with rig.guestd(short_dir, "127.0.0.1:0") as port:
        yield f"127.0.0.1:{port}"


versions = st.builds(lambda a, b: Versions(min(a, b), max(a, b)), st.integers(1, 9), st.integers(1, 9))


@given(versions, versions)
def test_negotiation_finds_the_greatest_in_common(host: Versions, guest: Versions) -> None:
    common = set(range(host.least, host.greatest + 1)) & set(range(guest.least, guest.greatest + 1))
    if common:
        assert negotiate(host, guest) == max(common)
    else:
        with pytest.raises(VersionMismatch, match="no protocol version in common"):
            negotiate(host, guest)


async def test_documents_are_stored_and_the_next_session_hears_of_them(rig, guest: str) -> None:
    content = bytes(range(256)) * 3000  # three pieces
    async with rig.raw_host(guest) as host:
        assert await host.hello() == {}
        await host.send(begin=begin("a", 1, b"one"))
        ack = await host.ack()
        assert (ack.key, ack.revision, ack.outcome, ack.held_revision) == ("a", 1, pb.DocumentAck.STORED, 1)
        await host.send(begin=begin("big", 7, content))
        for offset in range(limits.PIECE_BYTES, len(content), limits.PIECE_BYTES):
            data = content[offset : offset + limits.PIECE_BYTES]
            await host.send(piece=pb.DocumentPiece(offset=offset, data=data))
        assert (await host.ack()).outcome == pb.DocumentAck.STORED
        await host.send(begin=begin("a", 1, b"one"))
        assert (await host.ack()).outcome == pb.DocumentAck.DUPLICATE
        await host.send(begin=begin("big", 3, b"older"))
        ack = await host.ack()
        assert (ack.outcome, ack.held_revision) == (pb.DocumentAck.STALE, 7)
    async with rig.raw_host(guest) as host:
        assert await host.hello() == {"a": 1, "big": 7}
        await host.send(begin=pb.DocumentBegin(key="a", revision=2, deleted=True))
        assert (await host.ack()).outcome == pb.DocumentAck.STORED
    async with rig.raw_host(guest) as host:
        assert await host.hello() == {"big": 7}


async def test_an_inventory_comes_in_parts(rig, guest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "INVENTORY_PART", 2)
    async with rig.raw_host(guest) as host:
        await host.hello()
        for n in range(5):
            await host.send(begin=begin(f"k{n}", 1))
            await host.ack()
    async with rig.raw_host(guest) as host:
        assert await host.hello() == {f"k{n}": 1 for n in range(5)}


async def test_a_begin_abandons_the_open_document(rig, guest: str) -> None:
    content = bytes(limits.PIECE_BYTES + 1)
    async with rig.raw_host(guest) as host:
        await host.hello()
        await host.send(begin=begin("a", 1, content))
        await host.send(begin=begin("a", 2, b"newer"))
        ack = await host.ack()
        assert (ack.revision, ack.outcome) == (2, pb.DocumentAck.STORED)


@pytest.mark.parametrize(
    ("hello", "reason", "message"),
    [
        (
            {"min_version": 3, "max_version": 4},
            "VERSION_MISMATCH",
            "hypervisor speaks 3 to 4, guest speaks 1 to 2",
        ),
        (
            {"min_version": 0, "max_version": 0},
            "VERSION_MISMATCH",
            "hypervisor speaks 0, guest speaks 1 to 2",
        ),
        ({"vif_id": "../vm"}, "PROTOCOL_ERROR", "VIF id '../vm' is not valid"),
        ({"origin": ""}, "PROTOCOL_ERROR", "origin '' is not valid"),
        ({"heartbeat_ms": 1}, "PROTOCOL_ERROR", "heartbeat of 1 ms is not valid"),
    ],
)
async def test_a_wrong_hello_is_refused_clearly(
    rig, guest: str, hello: dict, reason: str, message: str
) -> None:
    fields = {"min_version": 1, "max_version": 1, "vif_id": "vm1", "origin": "o", "heartbeat_ms": 1000}
    async with rig.raw_host(guest) as host:
        await host.send(hello=pb.Hello(**(fields | hello)))
        answer = await host.receive()
        assert answer.WhichOneof("message") == "closing"
        assert pb.Closing.Reason.Name(answer.closing.reason) == reason
        assert message in answer.closing.message
        assert await host.receive() is None


async def test_a_newer_hypervisor_finds_the_common_version(rig, guest: str) -> None:
    async with rig.raw_host(guest) as host:
        assert await host.hello(min_version=1, max_version=9) == {}


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (begin("no spaces", 1), "key 'no spaces' is not valid"),
        (begin("a", 0), "revision 0 is not valid"),
        (begin("a", 1, size=limits.DOCUMENT_BYTES + 1), "is too large"),
        (begin("a", 1, b"xy", sha256=b"short"), "SHA-256 of 5 bytes"),
        (begin("a", 1, b"xyz", size=2), "first piece of 3 bytes in a document of 2"),
        (begin("a", 1, b"xyz", deleted=True), "tombstone with content"),
        (begin("a", 1, content_type="a\tb"), "content type"),
    ],
)
async def test_a_wrong_document_is_rejected_and_the_session_goes_on(
    rig, guest: str, wrong: pb.DocumentBegin, why: str
) -> None:
    async with rig.raw_host(guest) as host:
        await host.hello()
        await host.send(begin=wrong)
        ack = await host.ack()
        assert (ack.key, ack.outcome) == (wrong.key, pb.DocumentAck.REJECTED)
        assert why in ack.error
        if len(wrong.data) < wrong.size:
            await host.send(piece=pb.DocumentPiece(offset=1, data=b"still coming"))
        await host.send(begin=begin("good", 1))
        assert (await host.ack()).outcome == pb.DocumentAck.STORED
    async with rig.raw_host(guest) as host:
        assert await host.hello() == {"good": 1}


async def test_what_was_damaged_on_its_way_may_be_sent_again(rig, guest: str) -> None:
    async with rig.raw_host(guest) as host:
        await host.hello()
        await host.send(begin=begin("a", 1, b"xy", sha256=bytes(32)))
        ack = await host.ack()
        assert (ack.key, ack.outcome) == ("a", pb.DocumentAck.FAILED)
        assert "declared was 0000000000000000" in ack.error
        await host.send(begin=begin("a", 1, b"xy"))
        assert (await host.ack()).outcome == pb.DocumentAck.STORED


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ([{"piece": pb.DocumentPiece(data=b"x")}], "without a DocumentBegin"),
        ([{"hello": pb.Hello()}], "'hello' is not valid here"),
        ([{}], "None is not valid here"),
        ([{"report_ack": pb.ReportAck(sequence=5)}], "ack of report 5, but the last one sent is 0"),
        (
            [{"begin": begin("a", 1, size=9)}, {"piece": pb.DocumentPiece(offset=4, data=b"x")}],
            "offset 4, expected 0",
        ),
        ([{"begin": begin("a", 1, size=9)}, {"piece": pb.DocumentPiece(data=bytes(10))}], "more bytes than"),
        ([{"begin": begin("a", 1, size=9)}, {"piece": pb.DocumentPiece()}], "piece of 0 bytes"),
    ],
)
async def test_a_senseless_stream_is_closed_with_the_reason(
    rig, guest: str, messages: list, why: str
) -> None:
    async with rig.raw_host(guest) as host:
        await host.hello()
        for message in messages:
            await host.send(**message)
        answer = await host.receive()
        assert answer.closing.reason == pb.Closing.PROTOCOL_ERROR
        assert why in answer.closing.message
        assert await host.receive() is None


async def test_garbage_and_huge_messages_do_not_harm_a_live_session(rig, guest: str) -> None:
    async with rig.raw_host(guest) as host:
        await host.hello()
        address, port = guest.split(":")
        for garbage in (b"GET / HTTP/1.0\r\n\r\n", bytes(range(256)) * 64, b""):
            _, writer = await asyncio.open_connection(address, int(port))
            writer.write(garbage)
            writer.close()
        async with grpc.aio.insecure_channel(f"ipv4:{guest}") as channel:
            raw = channel.stream_stream("/hvchannel.channel.v1.Channel/Session")()
            await raw.write(b"\xff" * 100)
            assert await raw.code() is not grpc.StatusCode.OK
            big = channel.stream_stream("/hvchannel.channel.v1.Channel/Session")()
            await big.write(bytes(limits.MESSAGE_BYTES + 1))
            assert await big.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await host.send(begin=begin("a", 1))
        assert (await host.ack()).outcome == pb.DocumentAck.STORED


async def test_the_newest_session_wins(rig, guest: str) -> None:
    async with rig.raw_host(guest) as old, rig.raw_host(guest) as new:
        await old.hello()
        await new.hello()
        answer = await old.receive()
        assert answer.closing.reason == pb.Closing.SUPERSEDED
        await new.send(begin=begin("a", 1))
        assert (await new.ack()).outcome == pb.DocumentAck.STORED


async def test_a_silent_hypervisor_is_given_up(rig, guest: str) -> None:
    async with rig.raw_host(guest) as host:
        await host.hello(heartbeat_ms=100)
        answer = await host.receive()
        assert answer.closing.reason == pb.Closing.SILENT


async def test_reports_are_sent_in_order_until_acknowledged(rig, guest: str, short_dir: Path) -> None:
    def queue(*texts: bytes) -> None:
        with GuestClient(short_dir / "guestd.sock") as client:
            for text in texts:
                client.report("answer", text, about_key="a", about_revision=3)

    await asyncio.to_thread(queue, b"1", b"2")
    async with rig.raw_host(guest) as host:
        await host.hello()
        first, second = (await host.receive()).report, (await host.receive()).report
        assert [(r.sequence, r.data) for r in (first, second)] == [(1, b"1"), (2, b"2")]
        assert (first.type, first.about_key, first.about_revision) == ("answer", "a", 3)
        await host.send(report_ack=pb.ReportAck(sequence=1))
        await asyncio.to_thread(queue, b"3")
        assert (await host.receive()).report.sequence == 3
    async with rig.raw_host(guest) as host:
        await host.hello()
        again = [(await host.receive()).report for _ in range(2)]
        assert [r.sequence for r in again] == [2, 3]
        assert again[0].id == second.id


async def test_another_vif_and_another_origin(rig, guest: str) -> None:
    async with rig.raw_host(guest) as host:
        await host.hello(vif="vm1", origin="o1")
        await host.send(begin=begin("a", 5))
        await host.ack()
    async with rig.raw_host(guest) as host:
        assert await host.hello(vif="vm1", origin="o2") == {}
        await host.send(begin=begin("b", 1))
        await host.ack()
        await host.send(synced=pb.Synced())
        await host.send(begin=begin("a", 1))
        assert (await host.ack()).outcome == pb.DocumentAck.STORED
    async with rig.raw_host(guest) as host:
        assert await host.hello(vif="vm1", origin="o2") == {"a": 1, "b": 1}
    async with rig.raw_host(guest) as host:
        assert await host.hello(vif="vm2", origin="o2") == {}
