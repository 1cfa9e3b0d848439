# SPDX-License-Identifier: Apache-2.0
"""Messages of the channel, the attach API and guestd's API for local programs, with any values in their fields."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hvchannel_control.api import control_pb2
from hvchannel_control.attachments import HostAttachments
from hvchannel_control.compiled import CompiledProgram
from hvchannel_control.config import HostConfig
from hvchannel_control.controller import Controller
from hvchannel_control.profiles.host import HostProfile
from hvchannel_control.server import serving
from hvchannel_control.store import Store
from hvchannel_daemons import limits
from hvchannel_daemons.channel import channel_pb2 as pb
from hvchannel_daemons.channel import transport
from hvchannel_daemons.channel.closing import SessionOver
from hvchannel_daemons.hostd import untrusted
from hvchannel_daemons.local import guest_local_pb2
from hypothesis import given
from hypothesis import strategies as st

from tests.daemons.conftest import raw_host, running_guestd
from tests.fuzz.damage import damaged, examples

ON_ONE_LOOP = pytest.mark.asyncio(loop_scope="module")

TEXTS = ["", "a", "vm1", "a/b", "o1", "02:00:00:00:00:01", "y" * 300, "\x1b[2J", "\u00e9\0"]
NUMBERS = [0, 1, 2, 100, 255, 4094, 4095, 5001, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1]


def fields(draw: st.DrawFn, message: Message, depth: int = 3) -> Message:
    """Sets some of its fields to anything they can hold."""
    for field in message.DESCRIPTOR.fields:
        if not draw(st.booleans()):
            continue
        if field.is_repeated:
            values = [value(draw, field, depth) for _ in range(draw(st.integers(0, 3)))]
            getattr(message, field.name).extend(one for one in values if one is not None)
        elif field.message_type is not None:
            if depth:
                getattr(message, field.name).SetInParent()
                fields(draw, getattr(message, field.name), depth - 1)
        else:
            setattr(message, field.name, value(draw, field, depth))
    return message


def value(draw: st.DrawFn, field: FieldDescriptor, depth: int) -> Any:
    if field.message_type is not None:
        return fields(draw, field.message_type._concrete_class(), depth - 1) if depth else None
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING:
            if field.type == FieldDescriptor.TYPE_BYTES:
                return draw(
                    st.binary(max_size=40)
                    | st.sampled_from([bytes(16), bytes(32), bytes(limits.PIECE_BYTES + 1)])
                )
            return draw(st.sampled_from(TEXTS) | st.text(max_size=20))
        case FieldDescriptor.CPPTYPE_BOOL:
            return draw(st.booleans())
        case FieldDescriptor.CPPTYPE_ENUM | FieldDescriptor.CPPTYPE_INT32:
            return draw(st.integers(0, 9) | st.just(2**31 - 1))
        case FieldDescriptor.CPPTYPE_UINT32:
            return draw(st.sampled_from([n for n in NUMBERS if n < 2**32]))
    return draw(st.sampled_from(NUMBERS))


@st.composite
def any_of(draw: st.DrawFn, kind: type[Message]) -> Any:
    return fields(draw, kind())


# --- from a guest to hostd


@examples(200)
@given(any_of(pb.GuestMessage) | st.binary(max_size=60).map(transport.parsed))
def test_what_a_guest_says_is_checked(message: pb.GuestMessage) -> None:
    """Without SessionOver all that hostd takes over is what the feed can hold."""
    message = transport.parsed(message.SerializeToString())
    with contextlib.suppress(SessionOver):
        for ack in untrusted.acks(message.acks):
            assert ack.error.isprintable()
            assert ack.held <= ack.revision + limits.REVISION_LEAP
    with contextlib.suppress(SessionOver):
        held: dict[str, int] = {}
        untrusted.add_inventory(held, message.inventory)
        assert all(0 < revision <= limits.REVISION_MAX for revision in held.values())
    with contextlib.suppress(SessionOver):
        report = untrusted.report(message.report, after=0)
        assert 0 < report.sequence <= limits.REVISION_MAX
        assert max(report.time_unix_ns, report.about_revision) <= limits.REVISION_MAX
    with contextlib.suppress(SessionOver):
        assert transport.printable(message.welcome.agent, 128).isprintable()


@examples(60)
@given(
    damaged(
        pb.GuestMessage(
            report=pb.Report(sequence=1, id=bytes(16), type="t", data=b"x" * 20)
        ).SerializeToString()
    )
)
def test_what_is_no_message_is_none(data: bytes) -> None:
    assert transport.parsed(data).WhichOneof("message") in {
        None, "welcome", "inventory", "acks", "report", "heartbeat", "closing",
    }  # fmt: skip


# --- from whoever dials to guestd


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guest(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[str, Path]]:
    """A guestd's address and its socket."""
    directory = tmp_path_factory.mktemp("g")
    async with running_guestd(directory, "127.0.0.1:0") as port:
        yield f"127.0.0.1:{port}", directory / "guestd.sock"


@ON_ONE_LOOP
@examples(20)
@given(messages=st.lists(any_of(pb.HostMessage), max_size=6), greets=st.booleans())
async def test_whatever_a_hypervisor_says_guestd_serves_the_next(
    guest: tuple[str, Path], messages: list[pb.HostMessage], greets: bool
) -> None:
    address, _ = guest
    async with raw_host(address) as host:
        if greets:
            await host.hello(max_version=2)
        with contextlib.suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):
            for message in messages:
                await host.call.write(message)
            await host.call.done_writing()
            while (answer := await host.receive()) is not None:
                assert answer.WhichOneof("message") in {"welcome", "inventory", "acks", "closing"}
            assert await host.call.code() is grpc.StatusCode.OK
    async with raw_host(address) as host:
        held = await host.hello()
        revision = held.get("a", 0) + 1
        if revision < 2**63:
            await host.send(begin=pb.DocumentBegin(key="a", revision=revision, deleted=True))
            assert (await host.ack()).outcome in _ANSWERS


_ANSWERS = {
    pb.DocumentAck.STORED,
    pb.DocumentAck.DUPLICATE,
    pb.DocumentAck.STALE,
}  # an example before may have put it

# --- from local programs to guestd, and from operators to the controller

DOCUMENTED = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}


async def answer_to(
    path: Path, method: str, request: bytes, *, stream: bool = False
) -> tuple[grpc.StatusCode, str]:
    async with grpc.aio.insecure_channel(f"unix:{path}", options=transport.LOCAL) as channel:
        if stream:
            call: Any = channel.unary_stream(method)(request, timeout=30)
            with contextlib.suppress(grpc.aio.AioRpcError):
                async for _ in call:
                    pass
        else:
            call = channel.unary_unary(method)(request, timeout=30)
            with contextlib.suppress(grpc.aio.AioRpcError):
                await call
        return await call.code(), await call.details() or ""


LOCAL: list[tuple[str, type[Message], bool]] = [
    ("Get", guest_local_pb2.GetRequest, True),
    ("List", guest_local_pb2.ListRequest, True),
    ("Report", guest_local_pb2.ReportRequest, False),
]


@ON_ONE_LOOP
@examples(60)
@given(data=st.data())
async def test_local_programs(guest: tuple[str, Path], data: st.DataObject) -> None:
    _, path = guest
    name, kind, stream = data.draw(st.sampled_from(LOCAL))
    request = data.draw(any_of(kind)).SerializeToString()
    code, details = await answer_to(path, f"/hvchannel.local.v1.Guest/{name}", request, stream=stream)
    assert code in DOCUMENTED, details
    assert details.isprintable()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def controller(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Path]:
    """A host's controller; no vSwitch answers it."""
    directory = tmp_path_factory.mktemp("c")
    config, store = HostConfig.model_validate({}), Store(directory / "control.db")
    program = CompiledProgram(Path("none.p4info.txtpb"), Path("none.json"))
    profile, attachments = HostProfile(config), HostAttachments(config, store)
    async with serving(
        Controller(profile, attachments, config.switch, program, cip=config.channel.cip), directory / "c.sock"
    ):
        yield directory / "c.sock"
    store.close()


CONTROL: list[tuple[str, type[Message]]] = [
    ("Attach", control_pb2.AttachRequest),
    ("Detach", control_pb2.DetachRequest),
    ("List", control_pb2.ListRequest),
    ("Inspect", control_pb2.InspectRequest),
    ("Probe", control_pb2.ProbeRequest),
]


@ON_ONE_LOOP
@examples(80)
@given(data=st.data())
async def test_the_attach_api(controller: Path, data: st.DataObject) -> None:
    name, kind = data.draw(st.sampled_from(CONTROL))
    request = data.draw(any_of(kind)).SerializeToString()
    code, details = await answer_to(controller, f"/hvchannel.control.v1.Control/{name}", request)
    assert code in DOCUMENTED | {grpc.StatusCode.UNAVAILABLE}, (name, details)  # there is no vSwitch
    assert details.isprintable()


@ON_ONE_LOOP
@pytest.mark.parametrize(
    "method", ["/hvchannel.control.v1.Control/Attach", "/hvchannel.control.v1.Control/No", "/x/y"]
)
async def test_what_is_no_request(controller: Path, guest: tuple[str, Path], method: str) -> None:
    for path in (controller, guest[1]):
        code, _ = await answer_to(path, method, b"\xff" * 100)
        # gRPC's own words
        assert code in {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNIMPLEMENTED}
    code, _ = await answer_to(controller, "/hvchannel.control.v1.Control/List", b"")
    assert code is grpc.StatusCode.OK
