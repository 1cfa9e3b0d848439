# SPDX-License-Identifier: Apache-2.0
"""A real hostd with an honest guestd, and beside it whatever plays a hostile guest; what hostd costs meanwhile."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hvchannel_daemons.feed import Feed, Session
from hvchannel_daemons.limits import MIB
from hvchannel_daemons.reasons import Reason

PATIENCE = 60.0
HONEST = "honest"
GROWTH = 64 * MIB
"""More memory than this hostile VIFs may not make hostd need, at any moment."""
DESCRIPTORS = 16
"""Nor more descriptors each."""

Peer = Callable[[asyncio.StreamReader, "Writer"], Awaitable[None]]
Serving = Callable[[str, int], contextlib.AbstractAsyncContextManager[object]]


class Writer:
    """An asyncio.StreamWriter that counts."""

    def __init__(self, writer: asyncio.StreamWriter, listener: "Listener") -> None:
        self.transport = writer.transport
        self._writer = writer
        self._listener = listener

    def write(self, data: bytes) -> None:
        self._writer.write(data)
        self._listener.taken += len(data)

    async def drain(self) -> None:
        await self._writer.drain()


@dataclass
class Listener:
    """A hostile guest's end of TCP: `peer` has each connection."""

    peer: Peer
    connections: int = 0
    taken: int = 0  # bytes that hostd's kernel took of a flood, on all connections
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @contextlib.asynccontextmanager
    async def serving(self, address: str, port: int) -> AsyncIterator[None]:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections += 1
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self.peer(reader, Writer(writer, self))
            self._tasks.discard(task)
            writer.transport.abort()

        server = await asyncio.start_server(connected, address, port)
        try:
            yield
        finally:
            server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)


@dataclass
class World:
    control: object  # a FakeControl
    feed: Feed
    port: int
    hostd: object  # a Process
    guestd: object  # the honest one's
    log: Path
    honest_log: Path
    last: int = 20  # byte of the address that was given last

    @property
    def pid(self) -> int:
        return self.hostd.popen.pid  # type: ignore[attr-defined]

    def address(self) -> str:
        self.last += 1
        return f"127.0.0.{self.last}"

    def is_alive(self) -> bool:
        return self.hostd.popen.poll() is None  # type: ignore[attr-defined]

    def memory(self, what: str = "VmRSS") -> int:
        """Bytes."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(what):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"no {what}")

    def forget_peak(self) -> None:
        """From now on VmHWM is that of what follows."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def descriptors(self) -> int:
        return len(self.opened())

    def opened(self) -> list[str]:
        """What hostd's descriptors are of."""
        found = []
        for descriptor in Path(f"/proc/{self.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                found.append(str(descriptor.readlink()))
        return found

    async def honest_is_served(self, documents: int = 1) -> None:
        """Puts documents for the honest VIF, and has them acknowledged."""
        for n in range(documents):
            async with asyncio.timeout(PATIENCE):
                revision = await self.feed.put(HONEST, f"k{n % 4}", bytes(10_000), "")
                delivery = await self.feed.settled(HONEST, f"k{n % 4}", revision)
            assert delivery.acknowledged == revision

    async def session(self, vif: str) -> Session | None:
        return (await self.feed.sessions()).get(vif)

    @contextlib.asynccontextmanager
    async def attacked(self, guests: Mapping[str, Serving]) -> AsyncIterator[None]:
        """While the context lasts these VIFs are attached, and theirs are played by these. Afterwards: hostd lives, all
        of them together made it need no more memory than one may, and the honest guest was served all the time."""
        self.forget_peak()
        memory, descriptors = self.memory(), self.descriptors()
        async with contextlib.AsyncExitStack() as stack:
            for vif, serving in guests.items():
                address = self.address()
                await stack.enter_async_context(serving(address, self.port))
                self.control.attach(vif, address)  # type: ignore[attr-defined]
            try:
                await self.honest_is_served()
                yield
                await self.honest_is_served()
                opened = self.opened()
            finally:
                for vif in guests:
                    self.control.detach(vif)  # type: ignore[attr-defined]
        assert self.is_alive()
        growth = self.memory("VmHWM") - memory
        who = ", ".join(guests)
        assert growth < GROWTH, f"{growth / MIB:.0f} MiB more than before: {who}"
        assert len(opened) <= descriptors + DESCRIPTORS * len(guests), f"{who}: {opened}"
        await eventually(lambda: self._closed(descriptors), f"descriptors closed of {who}")

    async def _closed(self, descriptors: int) -> bool:
        return self.descriptors() <= descriptors + 8  # gRPC's own and the feed's come and go

    async def failed(self, vif: str, codes: set[Reason]) -> Session:
        """Its record, once the last error is one of these. What it says is one printable line."""

        async def found() -> bool:
            session = await self.session(vif)
            return session is not None and session.error_code in codes

        try:
            await eventually(found, f"{vif} to end with {codes}")
        except AssertionError as error:
            raise AssertionError(f"{error}; {await self.session(vif)}") from None
        session = await self.session(vif)
        assert session is not None
        assert session.error.isprintable()
        assert 0 < len(session.error) < 1000
        return session


async def eventually(condition: Callable[[], Awaitable[object]], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not await condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE:g} s: {what}"
        await asyncio.sleep(0.05)
