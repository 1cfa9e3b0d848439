# SPDX-License-Identifier: Apache-2.0
"""Rigs for hostd and guestd over loopback: as processes (to kill,
freeze) and inside the test (to look into)."""

import asyncio
import collections
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from hvchannel_control.api import control_pb2, control_pb2_grpc
from hvchannel_daemons.channel import channel_pb2 as pb
from hvchannel_daemons.channel import channel_pb2_grpc, transport
from hvchannel_daemons.feed import Feed, open_feed
from hvchannel_daemons.guestd import daemon as guestd_daemon
from hvchannel_daemons.guestd.assembly import Assembly
from hvchannel_daemons.guestd.listening import endpoint
from hvchannel_daemons.guestd.store import Applied, GuestStore
from hvchannel_daemons.hostd import daemon as hostd_daemon
from hvchannel_daemons.hostd.session import Settings

from tests.daemons import nats_servers

PATIENCE = 30.0


async def eventually(condition: Callable[[], Awaitable[object]], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not await condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE:g} s: {what}"
        await asyncio.sleep(0.02)


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[nats_servers.NatsServer]:
    """One real server for all tests that do not harm it."""
    if nats_servers.PROGRAM is None:
        pytest.skip(nats_servers.MISSING)
    with nats_servers.running(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture
def nats_feed(nats_server: nats_servers.NatsServer) -> str:
    """The URL of a feed of the test's own."""
    return f"{nats_server.url}/{uuid.uuid4().hex[:12]}"


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A directory whose path is short enough for unix sockets."""
    path = Path(tempfile.mkdtemp(prefix="hvd-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def port() -> int:
    """A TCP port that is free on all of 127.0.0.0/8, hence for several guests at once."""
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Every DocumentBegin that a guest inside the test receives."""
    seen: list[tuple[str, int]] = []
    original = Assembly.begin

    async def begin(self, message):
        seen.append((message.key, message.revision))
        return await original(self, message)

    monkeypatch.setattr(Assembly, "begin", begin)
    return seen


@pytest.fixture
def applied(monkeypatch: pytest.MonkeyPatch) -> collections.Counter[tuple[str, str, int]]:
    """How often guests inside the test made a revision of a key theirs: what their programs see as an effect."""
    counted: collections.Counter[tuple[str, str, int]] = collections.Counter()
    original = GuestStore.apply

    async def apply(self, binding, documents):
        results = await original(self, binding, documents)
        for arrived, result in zip(documents, results, strict=True):
            if result.applied is Applied.STORED:
                counted[binding.vif, arrived.key, arrived.revision] += 1
        return results

    monkeypatch.setattr(GuestStore, "apply", apply)
    return counted


class FakeControl(control_pb2_grpc.ControlServicer):
    """control's Watch, and nothing else of it."""

    def __init__(self) -> None:
        self.vifs: dict[str, control_pb2.Vif] = {}
        self._watchers: set[asyncio.Queue[control_pb2.Event]] = set()

    def attach(self, vif: str, lip: str, *, realised: bool = True) -> None:
        state = control_pb2.Vif.REALISED if realised else control_pb2.Vif.PENDING
        self.vifs[vif] = control_pb2.Vif(vif_id=vif, lip=lip, state=state)
        self._tell(control_pb2.Event(attached=self.vifs[vif]))

    def detach(self, vif: str) -> None:
        del self.vifs[vif]
        self._tell(control_pb2.Event(detached=vif))

    def _tell(self, event: control_pb2.Event) -> None:
        for watcher in self._watchers:
            watcher.put_nowait(event)

    async def Watch(self, request, context):  # noqa: N802 - gRPC's name
        events: asyncio.Queue[control_pb2.Event] = asyncio.Queue()
        self._watchers.add(events)
        try:
            for vif in list(self.vifs.values()):
                yield control_pb2.Event(attached=vif)
            yield control_pb2.Event(synced=True)
            while True:
                yield await events.get()
        finally:
            self._watchers.discard(events)


@contextlib.asynccontextmanager
async def serving_control(control: FakeControl, path: Path) -> AsyncIterator[None]:
    server = grpc.aio.server()
    control_pb2_grpc.add_ControlServicer_to_server(control, server)
    server.add_insecure_port(f"unix:{path}")
    await server.start()
    try:
        yield
    finally:
        await server.stop(None)


@pytest.fixture
async def control(short_dir: Path) -> AsyncIterator[FakeControl]:
    fake = FakeControl()
    async with serving_control(fake, short_dir / "control.sock"):
        yield fake


@pytest.fixture
def feed_at(short_dir: Path) -> str:
    """Where hostd and `feed` find the feed; a module whose tests shall run on NATS too overrides it."""
    return str(short_dir / "feed.db")


@pytest.fixture
async def feed(feed_at: str) -> AsyncIterator[Feed]:
    opened = await open_feed(feed_at)
    yield opened
    await opened.close()


@contextlib.asynccontextmanager
async def running_hostd(
    feed_at: str, directory: Path, port: int, host: str = "hv1", **settings
) -> AsyncIterator[None]:
    """hostd inside the test, on control.sock of the directory."""
    socket = directory / "control.sock"
    options = hostd_daemon.Options(socket, feed_at, port, None, Settings(**settings), host=host)
    stop = asyncio.Event()
    task = asyncio.create_task(hostd_daemon.run(options, stop))
    try:
        yield
    finally:
        stop.set()
        await task


@contextlib.asynccontextmanager
async def running_guestd(directory: Path, listen: str, **options) -> AsyncIterator[int]:
    """guestd inside the test: store and guestd.sock in the directory; yields its port."""
    await asyncio.to_thread(directory.mkdir, exist_ok=True)
    options = {"state": directory / "store", "socket": directory / "guestd.sock"} | options
    where = guestd_daemon.Options(endpoint(listen, allow_any_address=False), **options)
    stop = asyncio.Event()
    ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(guestd_daemon.run(where, stop, on_ready=ready.set_result))
    try:
        await asyncio.wait((task, ready), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        yield ready.result()
    finally:
        stop.set()
        await task


@dataclass
class Process:
    """A daemon as a process of its own."""

    arguments: list[str]
    log: Path
    popen: subprocess.Popen | None = None

    def start(self) -> None:
        with self.log.open("a") as log:
            self.popen = subprocess.Popen(
                [sys.executable, "-c", f"from {self.arguments[0]} import main; main()", *self.arguments[1:]],
                stderr=log,
                stdout=log,
            )

    def signal(self, number: int) -> None:
        assert self.popen is not None
        os.kill(self.popen.pid, number)

    def kill(self) -> None:
        """kill -9, and reaped when it returns."""
        if self.popen is not None and self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()

    def terminate(self) -> int:
        assert self.popen is not None
        self.popen.terminate()
        return self.popen.wait(PATIENCE)


@dataclass
class Processes:
    directory: Path
    port: int
    feed: str
    started: list[Process] = field(default_factory=list)

    def guestd(self, name: str, address: str, *options: str) -> Process:
        state = self.directory / name
        state.mkdir(exist_ok=True)
        return self._start(
            f"hvchannel_daemons.guestd.main run --listen {address}:{self.port} "
            f"--state {state}/store --socket {state}/guestd.sock".split()
            + list(options),
            state / "guestd.log",
        )

    def hostd(self, host: str = "hv1", directory: Path | None = None) -> Process:
        where = directory or self.directory
        return self._start(
            f"hvchannel_daemons.hostd.main --control {where}/control.sock --host {host} "
            f"--feed {self.feed} --port {self.port} --heartbeat 0.3".split(),
            where / "hostd.log",
        )

    def _start(self, arguments: list[str], log: Path) -> Process:
        process = Process(arguments, log)
        self.started.append(process)
        process.start()
        return process


@pytest.fixture
def processes(short_dir: Path, port: int, feed_at: str) -> Iterator[Processes]:
    started = Processes(short_dir, port, feed_at)
    yield started
    for process in started.started:
        with contextlib.suppress(ProcessLookupError):
            process.signal(signal.SIGCONT)
        process.kill()


class RawHost:
    """The hypervisor's end by hand: says what a test wants said, right or wrong."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.call = channel_pb2_grpc.ChannelStub(channel).Session()
        self.acks: asyncio.Queue[pb.DocumentAck] = asyncio.Queue()

    async def send(self, **message) -> None:
        await self.call.write(pb.HostMessage(**message))

    async def receive(self) -> pb.GuestMessage | None:
        """The next message that is no heartbeat; None at the end of the stream."""
        while True:
            async with asyncio.timeout(PATIENCE):
                message = await self.call.read()
            if transport.ended(message):
                return None
            if message.WhichOneof("message") != "heartbeat":
                return message

    async def hello(self, vif: str = "vm1", origin: str = "o1", **changes) -> dict[str, int]:
        """Begins a session; returns the inventory."""
        fields = {"min_version": 1, "max_version": 1, "heartbeat_ms": 1000} | changes
        await self.send(hello=pb.Hello(vif_id=vif, origin=origin, **fields))
        welcome = await self.receive()
        assert welcome is not None and welcome.HasField("welcome"), welcome
        held: dict[str, int] = {}
        while True:
            part = await self.receive()
            assert part is not None and part.HasField("inventory"), part
            held |= {entry.key: entry.revision for entry in part.inventory.entries}
            if part.inventory.last:
                return held

    async def ack(self) -> pb.DocumentAck:
        """The next ack of a document."""
        while self.acks.empty():
            message = await self.receive()
            assert message is not None and message.HasField("acks"), message
            for ack in message.acks.acks:
                self.acks.put_nowait(ack)
        return self.acks.get_nowait()


@contextlib.asynccontextmanager
async def raw_host(address: str) -> AsyncIterator[RawHost]:
    async with grpc.aio.insecure_channel(f"ipv4:{address}", options=transport.CLIENT) as channel:
        host = RawHost(channel)
        yield host
        host.call.cancel()


@dataclass(frozen=True)
class Rig:
    """What tests take from here: with importlib as import mode a test cannot import its conftest."""

    feed_at: str
    eventually = staticmethod(eventually)
    guestd = staticmethod(running_guestd)
    control = staticmethod(serving_control)
    raw_host = staticmethod(raw_host)
    new_control = FakeControl

    def hostd(self, directory: Path, port: int, **settings) -> contextlib.AbstractAsyncContextManager[None]:
        return running_hostd(self.feed_at, directory, port, **settings)


@pytest.fixture
def rig(feed_at: str) -> Rig:
    return Rig(feed_at)
