# SPDX-License-Identifier: Apache-2.0
"""A real P4Runtime server on a unix socket, before a real switch whose ports keep the frames they are sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import ClassVar

import grpc
import grpc.aio
import pytest
from finsy.proto import p4i, p4r, p4r_grpc, rpc_status
from google.protobuf import text_format
from hvchannel_softswitch.p4runtime.device import SwitchDevice
from hvchannel_softswitch.p4runtime.server import P4RuntimeServer
from hvchannel_softswitch.p4runtime.translations import Mappings
from hvchannel_softswitch.ports import PortStatistics
from hvchannel_softswitch.switch import Switch

PROGRAMS = Path(__file__).parent / "programs"
CPU_PORT = 510
DEVICE_ID = 1
DEADLINE = 10.0
"""Seconds until something awaited counts as missing."""


class MemoryPort:
    """A port that keeps what it is sent; frames arrive by `Switch.inject`."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.name = f"memory{number}"
        self.statistics = PortStatistics()
        self.sent: list[bytes] = []
        self.has_sent = asyncio.Event()

    is_open = False

    def open(self) -> None: ...
    def close(self) -> None: ...
    def is_there(self) -> bool:
        return True

    def fileno(self) -> int:
        return -1

    def receive(self, limit: int) -> list[bytes]:
        return []

    def send(self, frame: bytes) -> None:
        self.sent.append(frame)
        self.has_sent.set()


def load_p4info(name: str) -> p4i.P4Info:
    return text_format.Parse((PROGRAMS / f"{name}.p4info.txtpb").read_text(), p4i.P4Info())


def pipeline_config(name: str, cookie: int | None = None) -> p4r.ForwardingPipelineConfig:
    config = p4r.ForwardingPipelineConfig(
        p4info=load_p4info(name), p4_device_config=(PROGRAMS / f"{name}.json").read_bytes()
    )
    if cookie is not None:
        config.cookie.cookie = cookie
    return config


@dataclass(frozen=True)
class BatchError(Exception):
    """What a client sees of a failed Write or Read: the status, and one (code, message) per element."""

    code: grpc.StatusCode
    message: str
    errors: tuple[tuple[str, str], ...]


_CODE_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}


def batch_error(error: grpc.aio.AioRpcError) -> BatchError:
    details: list[tuple[str, str]] = []
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            assert isinstance(value, bytes)
            status = rpc_status.Status.FromString(value)
            assert status.code == error.code().value[0]
            assert status.message == error.details()
            for packed in status.details:
                one = p4r.Error()
                assert packed.Unpack(one)
                details.append((_CODE_NAMES[one.canonical_code], one.message))
    return BatchError(error.code(), error.details() or "", tuple(details))


@dataclass
class Client:
    """A controller's side: one channel, and one stream while it is open."""

    stub: p4r_grpc.P4RuntimeStub
    channel: grpc.aio.Channel
    election_id: int = 0
    role: str = ""
    device_id: int = DEVICE_ID
    BatchError: ClassVar[type[BatchError]] = BatchError
    stream: grpc.aio.StreamStreamCall[p4r.StreamMessageRequest, p4r.StreamMessageResponse] | None = None

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.channel.close()

    async def claim(
        self, election_id: int | None, *, role: str | None = None, device_id: int | None = None
    ) -> p4r.MasterArbitrationUpdate:
        """Sends an arbitration message and returns the next one received."""
        await self.send_claim(election_id, role=role, device_id=device_id)
        return await self.arbitration()

    async def send_claim(
        self, election_id: int | None, *, role: str | None = None, device_id: int | None = None
    ) -> None:
        update = p4r.MasterArbitrationUpdate(device_id=self.device_id if device_id is None else device_id)
        if election_id is not None:
            update.election_id.high, update.election_id.low = divmod(election_id, 2**64)
            self.election_id = election_id
        if role is not None:
            update.role.name = self.role = role
        await self.send(p4r.StreamMessageRequest(arbitration=update))

    async def send(self, request: p4r.StreamMessageRequest) -> None:
        if self.stream is None:
            self.stream = self.stub.StreamChannel()
        await self.stream.write(request)

    async def receive(self) -> p4r.StreamMessageResponse:
        assert self.stream is not None
        response = await asyncio.wait_for(self.stream.read(), DEADLINE)
        if not isinstance(response, p4r.StreamMessageResponse):
            raise grpc.aio.AioRpcError(
                await self.stream.code(),
                await self.stream.initial_metadata(),
                await self.stream.trailing_metadata(),
                details=await self.stream.details(),
            )
        return response

    async def arbitration(self) -> p4r.MasterArbitrationUpdate:
        response = await self.receive()
        assert response.HasField("arbitration"), response
        return response.arbitration

    async def set_pipeline(
        self, config: p4r.ForwardingPipelineConfig | None, action: str = "VERIFY_AND_COMMIT"
    ) -> None:
        request = p4r.SetForwardingPipelineConfigRequest(
            device_id=self.device_id,
            role=self.role,
            election_id=_uint128(self.election_id),
            action=p4r.SetForwardingPipelineConfigRequest.Action.Value(action),
            config=config,
        )
        await self.stub.SetForwardingPipelineConfig(request, timeout=DEADLINE)

    async def get_pipeline(self, response_type: str = "ALL") -> p4r.GetForwardingPipelineConfigResponse:
        kinds = p4r.GetForwardingPipelineConfigRequest
        request = kinds(device_id=self.device_id, response_type=kinds.ResponseType.Value(response_type))
        return await self.stub.GetForwardingPipelineConfig(request, timeout=DEADLINE)

    async def write(self, kind: str, *entities: p4r.Entity) -> None:
        await self.write_updates([p4r.Update(type=p4r.Update.Type.Value(kind), entity=e) for e in entities])

    async def write_updates(self, updates: Iterable[p4r.Update], **fields: object) -> None:
        request = p4r.WriteRequest(
            device_id=self.device_id, role=self.role, election_id=_uint128(self.election_id), updates=updates
        )
        for name, value in fields.items():
            setattr(request, name, value)
        try:
            await self.stub.Write(request, timeout=DEADLINE)
        except grpc.aio.AioRpcError as error:
            raise batch_error(error) from None

    async def refused(self, kind: str, entity: p4r.Entity) -> tuple[str, str]:
        """Writes one update that must fail; its code and message."""
        with pytest.raises(BatchError) as caught:
            await self.write(kind, entity)
        assert caught.value.code is grpc.StatusCode.UNKNOWN
        ((code, message),) = caught.value.errors
        return code, message

    async def read(self, *wanted: p4r.Entity) -> list[p4r.Entity]:
        request = p4r.ReadRequest(device_id=self.device_id, entities=wanted)
        try:
            return [e async for r in self.stub.Read(request, timeout=DEADLINE) for e in r.entities]
        except grpc.aio.AioRpcError as error:
            raise batch_error(error) from None


def _uint128(value: int) -> p4r.Uint128:
    return p4r.Uint128(high=value >> 64, low=value & (2**64 - 1))


@dataclass
class Rig:
    """The server, its switch, and as many clients as a test wants."""

    server: P4RuntimeServer
    switch: Switch
    ports: dict[int, MemoryPort]

    def client(self) -> Client:
        channel = grpc.aio.insecure_channel(
            self.server.address,
            options=(("grpc.max_metadata_size", 64 * 1024), ("grpc.use_local_subchannel_pool", 1)),
        )
        return Client(p4r_grpc.P4RuntimeStub(channel), channel)  # type: ignore[no-untyped-call]


class Clock:
    """Nanoseconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000_000_000

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def mappings() -> Mappings | None:
    """The configured translations; a test module overrides it."""
    return None


@pytest.fixture
async def rig(tmp_path: Path, clock: Clock, mappings: Mappings | None) -> AsyncIterator[Rig]:
    ports = {number: MemoryPort(number) for number in range(1, 5)}
    switch = Switch(ports.values(), cpu_port=CPU_PORT, clock=clock)
    address = f"unix:{tmp_path / 'p4rt.sock'}"
    server = P4RuntimeServer(DEVICE_ID, SwitchDevice(switch), address, mappings)
    await server.start()
    try:
        yield Rig(server, switch, ports)
    finally:
        await server.stop()


@pytest.fixture
async def client(rig: Rig) -> AsyncIterator[Client]:
    """A client that has not said anything yet."""
    async with rig.client() as connected:
        yield connected


@pytest.fixture
async def primary(client: Client) -> Client:
    """The primary of the default role, with kinds.p4 committed."""
    await client.claim(1)
    await client.set_pipeline(pipeline_config("kinds", cookie=7))
    return client


@pytest.fixture
def config_of() -> Callable[..., p4r.ForwardingPipelineConfig]:
    """`pipeline_config`, for tests that set another pipeline."""
    return pipeline_config


@pytest.fixture
async def everything(client: Client) -> Client:
    """As `primary`, with entities.p4 committed."""
    await client.claim(1)
    await client.set_pipeline(pipeline_config("entities"))
    return client


class Names:
    """Ids by name, for entities that read like the program."""

    def __init__(self, info: p4i.P4Info) -> None:
        self.info = info
        self.tables = {t.preamble.alias: t for t in info.tables}
        self.actions = {a.preamble.alias: a for a in info.actions}
        others = (info.registers, info.value_sets, info.action_profiles, info.counters, info.meters)
        self.ids = {item.preamble.alias: item.preamble.id for items in others for item in items}

    def table_id(self, table: str) -> int:
        return self.tables[table].preamble.id

    def action(self, name: str, **params: int) -> p4r.TableAction:
        action = self.actions[name]
        ids = {p.name: p.id for p in action.params}
        return p4r.TableAction(
            action=p4r.Action(
                action_id=action.preamble.id,
                params=[p4r.Action.Param(param_id=ids[k], value=canonical(v)) for k, v in params.items()],
            )
        )

    def entry(
        self, table: str, action: p4r.TableAction | None = None, *, priority: int = 0, **match: object
    ) -> p4r.TableEntry:
        """Matches by the key's kind: an int, or (value, prefix length), (value, mask), (low, high)."""
        ids = {f.name: f for f in self.tables[table].match_fields}
        return p4r.TableEntry(
            table_id=self.table_id(table),
            match=[_match(ids[name], value) for name, value in match.items()],
            action=action,
            priority=priority,
        )


def canonical(value: int) -> bytes:
    return value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big")


def _match(field_info: p4i.MatchField, value: object) -> p4r.FieldMatch:
    match = p4r.FieldMatch(field_id=field_info.id)
    kind = p4i.MatchField.MatchType.Name(field_info.match_type)
    if kind in ("EXACT", "OPTIONAL"):
        assert isinstance(value, int)
        (match.exact if kind == "EXACT" else match.optional).value = canonical(value)
        return match
    assert isinstance(value, tuple)
    first, second = value
    if kind == "LPM":
        match.lpm.value, match.lpm.prefix_len = canonical(first), second
    elif kind == "TERNARY":
        match.ternary.value, match.ternary.mask = canonical(first), canonical(second)
    else:
        match.range.low, match.range.high = canonical(first), canonical(second)
    return match


@pytest.fixture(scope="session")
def kinds() -> Names:
    return Names(load_p4info("kinds"))


@pytest.fixture(scope="session")
def names() -> Names:
    """Of entities.p4."""
    return Names(load_p4info("entities"))
