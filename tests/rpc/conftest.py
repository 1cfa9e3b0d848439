# SPDX-License-Identifier: Apache-2.0
"""A server of a few methods on a unix socket; to be called by grpcio, or by a client that says frame by frame what a
well-behaved one would not."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import grpc.aio
import pytest
import structlog
from hpack import Decoder, Encoder
from hvchannel_softswitch.rpc import RpcError, RpcServer
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    HeadersFrame,
    SettingsFrame,
)

DEADLINE = 10.0
"""Seconds until something awaited counts as missing."""

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@dataclass
class Methods:
    """What the server does, and what it was asked."""

    clock: Callable[[], float] = time.perf_counter
    on_echo: Callable[[], None] = lambda: None
    asked: list[bytes] = field(default_factory=list)
    sent: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a streaming method has been closed."""
    server: RpcServer | None = None

    def echo(self, request: bytes) -> bytes:
        self.on_echo()
        self.asked.append(request)
        return request

    def refuse(self, request: bytes) -> bytes:
        raise RpcError(9, "not ready: 100 % \u2603\n", request)

    def break_down(self, request: bytes) -> bytes:
        raise ZeroDivisionError

    async def echo_all(self, requests: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        try:
            async for request in requests:
                yield request
        finally:
            self.ended.set()

    async def count(self, requests: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        """As many messages of 10,000 bytes as asked for."""
        try:
            async for request in requests:
                for _ in range(int(request)):
                    self.sent += 1
                    yield bytes(10_000)
        finally:
            self.ended.set()

    async def refuse_late(self, requests: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        async for request in requests:
            yield request
            raise RpcError(5, "no more")


@pytest.fixture(autouse=True)
def _logs() -> None:
    """To where they go by default: a command that another test ran may have sent them to what is closed by now."""
    structlog.reset_defaults()


@pytest.fixture
def methods() -> Methods:
    return Methods()


@pytest.fixture
async def server(methods: Methods, tmp_path: Path) -> AsyncIterator[Path]:
    """Where it listens."""
    made = RpcServer(
        {"/t.T/Echo": methods.echo, "/t.T/Refuse": methods.refuse, "/t.T/Break": methods.break_down},
        {
            "/t.T/EchoAll": methods.echo_all,
            "/t.T/Count": methods.count,
            "/t.T/RefuseLate": methods.refuse_late,
        },
        lambda: methods.clock(),  # noqa: PLW0108 (a test may set another)
    )
    path = tmp_path / "rpc.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    await made.serve(listener)
    methods.server = made
    yield path
    await made.stop()


@pytest.fixture
async def channel(server: Path) -> AsyncIterator[grpc.aio.Channel]:
    options = (
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_metadata_size", 128 * 1024),
    )
    async with grpc.aio.insecure_channel(f"unix:{server}", options=options) as made:
        yield made


class RawClient:
    """HTTP/2, frame by frame."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.encoder, self._decoder = Encoder(), Decoder()

    def write(self, *frames: Frame | bytes) -> None:
        for frame in frames:
            self._writer.write(frame if isinstance(frame, bytes) else frame.serialize())

    async def next(self) -> Frame:
        """The next frame that the server sends."""
        header = await asyncio.wait_for(self._reader.readexactly(9), DEADLINE)
        frame, length = Frame.parse_frame_header(memoryview(header))
        frame.parse_body(memoryview(await asyncio.wait_for(self._reader.readexactly(length), DEADLINE)))
        return frame

    async def frame(self, kind: type[Frame]) -> Frame:
        """The next one of this kind."""
        while not isinstance(frame := await self.next(), kind):
            pass
        return frame

    async def is_closed(self) -> bool:
        return not await asyncio.wait_for(self._reader.read(1), DEADLINE)

    def headers(
        self, stream: int, path: str = "/t.T/Echo", *more: tuple[str, str], end: bool = False
    ) -> HeadersFrame:
        block = self.encoder.encode(
            [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", path),
                (":authority", "localhost"),
                ("te", "trailers"),
                ("content-type", "application/grpc"),
                *more,
            ]
        )
        return HeadersFrame(stream, block, flags=["END_HEADERS", *(["END_STREAM"] if end else [])])

    async def response(self, stream: int) -> tuple[dict[str, str], bytes]:
        """All headers and data that a call gets."""
        headers: dict[str, str] = {}
        data, block = b"", b""
        while True:
            frame = await self.next()
            if frame.stream_id != stream:
                continue
            if isinstance(frame, DataFrame):
                data += frame.data
            if isinstance(frame, HeadersFrame):
                is_end = "END_STREAM" in frame.flags
            if isinstance(frame, HeadersFrame | ContinuationFrame):
                block += frame.data
                if "END_HEADERS" in frame.flags:
                    headers |= dict(self._decoder.decode(block))
                    block = b""
                    if is_end:
                        return headers, data

    def close(self) -> None:
        self._writer.close()


@pytest.fixture
async def connect(server: Path) -> AsyncIterator[Callable[[], Awaitable[RawClient]]]:
    """Makes clients that are connected, and have said nothing yet."""
    clients: list[RawClient] = []

    async def one() -> RawClient:
        clients.append(RawClient(*await asyncio.open_unix_connection(str(server))))
        return clients[-1]

    yield one
    for client in clients:
        client.close()


@pytest.fixture
async def raw(connect: Callable[[], Awaitable[RawClient]]) -> RawClient:
    """Connected, and greeted."""
    client = await connect()
    client.write(PREFACE, SettingsFrame(0))
    return client
