# SPDX-License-Identifier: Apache-2.0
"""Ways between two processes that can be cut: what a network does to a connection, done to each of ours.

A way passes bytes until told otherwise. `stall` keeps what is under way and takes new connections without a word, as a
network that loses every packet; `half_open` ends one end of each connection and leaves the other believing; `delay`
holds each piece back.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from hvchannel_lab.namespaces import inside
from hvchannel_lab.threads import in_thread

_PIECE = 65536
_WITHIN = 30.0  # seconds


@dataclass(eq=False)
class _Pair:
    """One connection: the client's side and the server's."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    passes: bool = True  # False: whatever comes is forgotten


@dataclass
class Way:
    """A listener and where it leads."""

    listen: Callable[[], socket.socket]
    connect: Callable[[], tuple[socket.socket, str | tuple[str, int]]]
    open: asyncio.Event = field(default_factory=asyncio.Event)
    delay: float = 0.0  # seconds
    pairs: set[_Pair] = field(default_factory=set)
    abandoned: set[_Pair] = field(default_factory=set)
    server: asyncio.Server | None = None


class Proxies:
    """All ways of a world, in a thread that stands in the hypervisor's namespace. Methods are for other threads."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._ways: dict[str, Way] = {}
        self._start()

    def unix(self, name: str, path: Path, to: Path) -> None:
        def listen() -> socket.socket:
            path.unlink(missing_ok=True)
            made = socket.socket(socket.AF_UNIX)
            made.bind(str(path))
            return made

        self._add(name, Way(listen, lambda: (socket.socket(socket.AF_UNIX), str(to))))

    def tcp(self, name: str, port: int, to: int) -> None:
        def listen() -> socket.socket:
            return socket.create_server(("127.0.0.1", port))

        self._add(name, Way(listen, lambda: (socket.socket(), ("127.0.0.1", to))))

    def stall(self, name: str) -> None:
        self._call(self._ways[name].open.clear)

    def resume(self, name: str) -> None:
        self._call(self._ways[name].open.set)

    def slow(self, name: str, delay: float) -> None:
        """`delay`: seconds, for each piece in either direction; 0 ends it."""
        self._ways[name].delay = delay

    def cut(self, name: str) -> None:
        """Resets all connections."""

        def work() -> None:
            for pair in set(self._ways[name].pairs):
                pair.client.transport.abort()
                pair.server.transport.abort()

        self._call(work)

    def half_open(self, name: str, left: str) -> None:
        """The end that is `left`, "client" or "server", hears nothing of it until the world ends or `forget`."""

        def work() -> None:
            way = self._ways[name]
            for pair in set(way.pairs):
                pair.passes = False
                way.pairs.discard(pair)
                way.abandoned.add(pair)
                (pair.server if left == "client" else pair.client).transport.abort()

        self._call(work)

    def abandoned(self, name: str, left: str) -> int:
        """Of those connections, how many the end that was left still believes in."""
        ends = [pair.client if left == "client" else pair.server for pair in self._ways[name].abandoned]
        return sum(not end.transport.is_closing() for end in ends)

    def leave(self) -> None:
        """The hypervisor's namespace is about to go."""
        self._call_async(self._close_all)
        self._stop_thread()

    def arrive(self) -> None:
        """It is there again."""
        self._start()
        for way in self._ways.values():
            way.open = asyncio.Event()  # the one before belongs to the loop before
            way.open.set()
            self._call_async(lambda way=way: self._serve(way))

    def stop(self) -> None:
        if self._loop.is_running():
            self.leave()

    # in the thread

    def _start(self) -> None:
        started = threading.Event()
        self._loop = asyncio.new_event_loop()

        def run() -> None:
            with inside(self._namespace):
                self._loop.call_soon(started.set)
                self._loop.run_forever()

        self._thread: Future[None] = in_thread(run)
        started.wait(_WITHIN)

    def _stop_thread(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.result(_WITHIN)

    def _call(self, work: Callable[[], None]) -> None:
        async def run() -> None:
            work()

        self._call_async(run)

    def _call_async(self, work: Callable[[], object]) -> None:
        asyncio.run_coroutine_threadsafe(work(), self._loop).result(_WITHIN)  # type: ignore[arg-type]

    def _add(self, name: str, way: Way) -> None:
        self._ways[name] = way
        way.open.set()
        self._call_async(lambda: self._serve(way))

    async def _serve(self, way: Way) -> None:
        async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(asyncio.CancelledError):  # the end of all ways
                await self._carry(way, reader, writer)

        listener = way.listen()
        listener.setblocking(False)
        start = asyncio.start_unix_server if listener.family == socket.AF_UNIX else asyncio.start_server
        way.server = await start(accepted, sock=listener)

    async def _close_all(self) -> None:
        for way in self._ways.values():
            if way.server is not None:
                way.server.close()
            for pair in way.pairs | way.abandoned:
                pair.client.transport.abort()
                pair.server.transport.abort()
            way.pairs.clear()
            way.abandoned.clear()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _carry(self, way: Way, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        server: asyncio.StreamWriter | None = None
        try:
            await way.open.wait()
            made, where = way.connect()
            made.setblocking(False)
            try:
                await asyncio.get_running_loop().sock_connect(made, where)
            except OSError:
                made.close()
                return
            back, server = await asyncio.open_connection(sock=made)
            pair = _Pair(client, server)
            way.pairs.add(pair)
            try:
                await asyncio.gather(
                    self._pass(way, pair, reader, client, server), self._pass(way, pair, back, server, client)
                )
            finally:
                way.pairs.discard(pair)
        finally:
            client.close()
            if server is not None:
                server.close()

    async def _pass(
        self,
        way: Way,
        pair: _Pair,
        source: asyncio.StreamReader,
        own: asyncio.StreamWriter,
        to: asyncio.StreamWriter,
    ) -> None:
        """From one end, whose answers go into `own`, to the other."""
        with suppress(OSError):
            while data := await source.read(_PIECE):
                await way.open.wait()
                if way.delay:
                    await asyncio.sleep(way.delay)
                if pair.passes:
                    to.write(data)
                    await to.drain()
        (to if pair.passes else own).close()  # of a pair that was cut in two each end goes by itself
