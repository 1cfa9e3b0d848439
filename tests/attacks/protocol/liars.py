# SPDX-License-Identifier: Apache-2.0
"""Guests that speak gRPC well, and the channel's protocol not, or with lies."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from hvchannel_daemons.channel import channel_pb2 as pb
from hvchannel_daemons.channel import channel_pb2_grpc

Talk = Callable[["Liar"], Awaitable[None]]


@dataclass
class Liar(channel_pb2_grpc.ChannelServicer):
    """`talk` is what it does with each session; `got` is what hostd sent in the last one."""

    talk: Talk
    sessions: int = 0
    got: list[pb.HostMessage] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    sent: int = 0
    context: Any = None

    @contextlib.asynccontextmanager
    async def serving(self, address: str, port: int) -> AsyncIterator[None]:
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0), ("grpc.max_send_message_length", -1)])
        channel_pb2_grpc.add_ChannelServicer_to_server(self, server)
        server.add_insecure_port(f"{address}:{port}")
        await server.start()
        try:
            yield
        finally:
            await server.stop(None)

    async def Session(self, _requests: object, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        self.sessions += 1
        self.context = context
        self.got = []
        reading = asyncio.create_task(self._read(context))
        try:
            await self.talk(self)
            await asyncio.Event().wait()
        finally:
            reading.cancel()

    async def _read(self, context: Any) -> None:
        while (message := await context.read()) is not grpc.aio.EOF:
            self.got.append(message)
            self.arrived.set()

    async def say(self, **message: Any) -> None:
        await self.context.write(pb.GuestMessage(**message))
        self.sent += 1

    async def welcome(self, **held: int) -> None:
        await self.say(welcome=pb.Welcome(version=2, agent="liar"))
        await self.holds(held.items())

    async def holds(self, held: Iterable[tuple[str, int]], *, last: bool = True) -> None:
        entries = [pb.Inventory.Entry(key=key, revision=revision) for key, revision in held]
        await self.say(inventory=pb.Inventory(entries=entries, last=last))

    async def acks(
        self, acks: Sequence[tuple[str, int]], outcome: Any = pb.DocumentAck.STORED, **more: Any
    ) -> None:
        told = [pb.DocumentAck(key=key, revision=n, outcome=outcome, **more) for key, n in acks]
        await self.say(acks=pb.DocumentAcks(acks=told))

    async def begun(self, key: str) -> pb.DocumentBegin:
        """The newest Begin of the key, once there is one."""
        while True:
            for message in reversed(self.got):
                if message.begin.key == key:
                    return message.begin
            self.arrived.clear()
            await self.arrived.wait()

    async def beats(self) -> None:
        while True:
            await self.say(heartbeat=pb.Heartbeat())
            await asyncio.sleep(0.05)


def report(sequence: int, data: bytes = b"", **changes: Any) -> pb.Report:
    fields = {"type": "t", "id": sequence.to_bytes(16, "big")} | changes
    return pb.Report(sequence=sequence, data=data, **fields)
