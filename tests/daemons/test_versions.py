# SPDX-License-Identifier: Apache-2.0
"""The newest protocol against version 1, the older end made of channel_v1.proto: it would not know a newer field."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet
from grpc_tools import protoc
from hvchannel_daemons import limits
from hvchannel_daemons.channel import channel_pb2 as pb
from hvchannel_daemons.channel import transport
from hvchannel_daemons.channel.versions import SPOKEN, Versions
from hvchannel_daemons.feed import Feed, Member, SessionState
from hvchannel_daemons.guestd.client import GuestClient

SESSION = "/hvchannel.channel.v1.Channel/Session"


@pytest.fixture(scope="module")
def v1(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The message classes of version 1, apart from those of the package."""
    here, there = Path(__file__).parent, tmp_path_factory.mktemp("v1") / "v1.binpb"
    arguments = ["protoc", f"-I{here}", f"--descriptor_set_out={there}", "channel_v1.proto"]
    assert protoc.main(arguments) == 0
    files = descriptor_pb2.FileDescriptorSet.FromString(there.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    names = files.file[0].message_type
    classes = {
        m.name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"hvchannel.channel.v1.{m.name}"))
        for m in names
    }
    return SimpleNamespace(**classes)


def understood(kind: Any, data: bytes) -> Any:
    """The message, which has nothing that version 1 does not know."""
    message = kind.FromString(data)
    assert message.WhichOneof("message") is not None, data
    _check(message)
    return message


def _check(message: Message) -> None:
    assert not len(UnknownFieldSet(message)), message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in value if field.is_repeated else (value,):
                _check(inner)


class OldGuest:
    """A guest of version 1: keeps documents in memory, sends one report."""

    def __init__(self, v1: SimpleNamespace) -> None:
        self._v1 = v1
        self.begun: list[tuple[str, int]] = []
        self.contents: dict[str, bytes] = {}
        self.hello: Any = None
        self.wrong: list[BaseException] = []
        self.report_acked = asyncio.Event()

    async def session(self, _requests: object, context: Any) -> None:
        try:
            await self._session(context)
        except (AssertionError, ValueError) as error:
            self.wrong.append(error)
            raise

    async def _session(self, context: Any) -> None:
        v1, open_begin, received = self._v1, None, b""

        async def send(**message: Any) -> None:
            await context.write(v1.GuestMessage(**message).SerializeToString())

        while (data := await context.read()) is not grpc.aio.EOF:
            message = understood(v1.HostMessage, data)
            kind = message.WhichOneof("message")
            if kind == "hello":
                self.hello = message.hello
                assert message.hello.min_version <= 1 <= message.hello.max_version
                await send(welcome=v1.Welcome(version=1, agent="old"))
                await send(inventory=v1.Inventory(last=True))
                report = v1.Report(sequence=1, id=bytes(16), type="t", data=b"old", time_unix_ns=1)
                await send(report=report)
                continue
            if kind == "begin":
                open_begin, received = message.begin, message.begin.data
                self.begun.append((open_begin.key, open_begin.revision))
            elif kind == "piece":
                assert message.piece.offset == len(received)
                received += message.piece.data
            elif kind == "report_ack":
                self.report_acked.set()
                continue
            else:
                assert kind in ("synced", "heartbeat", "closing"), kind
                continue
            if len(received) == open_begin.size:
                assert open_begin.deleted or hashlib.sha256(received).digest() == open_begin.sha256
                self.contents[open_begin.key] = received
                ack = v1.DocumentAck(
                    key=open_begin.key, revision=open_begin.revision, outcome=v1.DocumentAck.STORED
                )
                await send(acks=v1.DocumentAcks(acks=[ack]))


@contextlib.asynccontextmanager
async def serving(guest: OldGuest, address: str) -> AsyncIterator[None]:
    server = grpc.aio.server(options=transport.SERVER)
    handler = grpc.stream_stream_rpc_method_handler(guest.session)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("hvchannel.channel.v1.Channel", {"Session": handler}),)
    )
    server.add_insecure_port(address)
    await server.start()
    try:
        yield
    finally:
        await server.stop(None)


async def session_of(feed: Feed, vif: str) -> Any:
    session = (await feed.sessions()).get(vif)
    return session if session is not None and session.state is SessionState.READY else None


async def settle(feed: Feed, vif: str) -> None:
    async with asyncio.timeout(30):
        for delivery in await feed.deliveries(vif):
            await feed.settled(vif, delivery.document.key, delivery.document.revision)


async def test_hostd_serves_a_guest_of_version_1(
    rig, control, feed, port, short_dir: Path, v1: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    """A group comes to it one by one, and the log says so."""
    guest = OldGuest(v1)
    big = bytes(range(256)) * 3000
    await feed.put("vm1", "big", big, "x/y")
    await feed.put_group("vm1", [Member("a", b"1"), Member("b", b"2")])
    async with serving(guest, f"127.0.0.11:{port}"), rig.hostd(short_dir, port):
        control.attach("vm1", "127.0.0.11")
        await rig.eventually(lambda: session_of(feed, "vm1"), "READY")
        await feed.put_group("vm1", [Member("a", b"3"), Member("b", None)])
        await settle(feed, "vm1")
        await guest.report_acked.wait()
        session = await session_of(feed, "vm1")
    assert guest.wrong == []
    assert (session.version, session.agent) == (1, "old")
    assert (guest.hello.min_version, guest.hello.max_version) == (SPOKEN.least, SPOKEN.greatest)
    assert guest.begun == [("big", 1), ("a", 1), ("b", 1), ("a", 2), ("b", 2)]
    assert guest.contents == {"big": big, "a": b"3", "b": b""}
    assert [r.report.data for r in await feed.reports("vm1")] == [b"old"]
    assert "".join(capsys.readouterr()).count("groups_one_by_one") == 1


async def test_guestd_serves_a_hypervisor_of_version_1(rig, short_dir: Path, v1: SimpleNamespace) -> None:
    async with (
        rig.guestd(short_dir, "127.0.0.1:0") as port,
        grpc.aio.insecure_channel(f"ipv4:127.0.0.1:{port}", options=transport.CLIENT) as channel,
    ):
        call = channel.stream_stream(SESSION)()

        async def send(**message: Any) -> None:
            await call.write(v1.HostMessage(**message).SerializeToString())

        async def receive() -> Any:
            while True:
                async with asyncio.timeout(30):
                    message = understood(v1.GuestMessage, await call.read())
                if message.WhichOneof("message") != "heartbeat":
                    return message

        await send(hello=v1.Hello(min_version=1, max_version=1, vif_id="vm1", origin="o", heartbeat_ms=1000))
        assert (await receive()).welcome.version == 1
        assert (await receive()).inventory.last
        content = bytes(range(256)) * 2000
        begin = v1.DocumentBegin(
            key="big", revision=1, sha256=hashlib.sha256(content).digest(), size=len(content)
        )
        await send(begin=begin)
        for offset in range(0, len(content), limits.PIECE_BYTES):
            await send(piece=v1.DocumentPiece(offset=offset, data=content[offset:][: limits.PIECE_BYTES]))
        (ack,) = (await receive()).acks.acks
        assert (ack.key, ack.outcome) == ("big", v1.DocumentAck.STORED)
        await send(synced=v1.Synced())
        await asyncio.to_thread(report, short_dir / "guestd.sock")
        sent = (await receive()).report
        assert (sent.data, sent.about_key) == (b"new", "big")
        await send(report_ack=v1.ReportAck(sequence=sent.sequence))
        await call.write(pb.HostMessage(group_begin=pb.GroupBegin(members=1)).SerializeToString())
        closing = (await receive()).closing
        assert closing.reason == v1.Closing.PROTOCOL_ERROR and "'group_begin' is not valid" in closing.message


def report(socket: Path) -> None:
    with GuestClient(socket) as client:
        client.report("t", b"new", about_key="big", about_revision=1)


@pytest.mark.parametrize(
    ("host", "guest", "agreed"),
    [
        (SPOKEN, Versions(1, 1), 1),
        (Versions(1, 1), SPOKEN, 1),
        (SPOKEN, SPOKEN, SPOKEN.greatest),
        (SPOKEN, Versions(2, 9), SPOKEN.greatest),
    ],
)
async def test_each_pair_finds_its_version_and_delivers(
    rig, control, feed, port, short_dir: Path, host: Versions, guest: Versions, agreed: int
) -> None:
    async with (
        rig.guestd(short_dir / "vm1", f"127.0.0.11:{port}", versions=guest),
        rig.hostd(short_dir, port, versions=host),
    ):
        control.attach("vm1", "127.0.0.11")
        await feed.put_group("vm1", [Member("a", b"1"), Member("b", b"2")])
        await rig.eventually(lambda: session_of(feed, "vm1"), "READY")
        await settle(feed, "vm1")
        assert (await session_of(feed, "vm1")).version == agreed
