# SPDX-License-Identifier: Apache-2.0
"""Real nats-servers for tests: on loopback, their data below a directory of the test, ended by their pid."""

import asyncio
import contextlib
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PROGRAM = shutil.which("nats-server", path="/usr/sbin:/usr/bin:/usr/local/bin:/sbin:/bin")
MISSING = "needs nats-server (apt-get install nats-server)"
_PATIENCE = 30.0


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as open_sockets:
        found = []
        for _ in range(count):
            probe = open_sockets.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            found.append(int(probe.getsockname()[1]))
        return found


@dataclass
class NatsServer:
    """One server with JetStream; the same port and data at every start."""

    directory: Path
    port: int
    configuration: str = ""
    arguments: Sequence[str] = ()
    tls: bool = False
    popen: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        return f"{'tls' if self.tls else 'nats'}://127.0.0.1:{self.port}"

    def start(self, *, wait: bool = True) -> "NatsServer":
        assert PROGRAM is not None
        self.directory.mkdir(parents=True, exist_ok=True)
        file = self.directory / "server.conf"
        file.write_text(f'jetstream {{ store_dir: "{self.directory}/js" }}\n{self.configuration}\n')
        with (self.directory / "log").open("ab") as log:
            self.popen = subprocess.Popen(
                [PROGRAM, "-c", str(file), "-a", "127.0.0.1", "-p", str(self.port), *self.arguments],
                stdout=log,
                stderr=log,
            )
        if wait:
            self.wait()
        return self

    def wait(self) -> None:
        """Until it takes connections."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            assert self.popen is not None
            assert self.popen.poll() is None, (self.directory / "log").read_text()[-2000:]
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                if probe.recv(4) == b"INFO":
                    return
            assert time.monotonic() < deadline, (self.directory / "log").read_text()[-2000:]
            time.sleep(0.02)

    def stop(self) -> None:
        """In order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        if self.popen is not None and self.popen.poll() is None:
            self.popen.send_signal(number)
            self.popen.wait(_PATIENCE)


@contextlib.contextmanager
def running(directory: Path, configuration: str = "", **options) -> Iterator[NatsServer]:
    server = NatsServer(directory, free_ports(1)[0], configuration, **options)
    try:
        yield server.start()
    finally:
        server.kill()


@contextlib.contextmanager
def cluster(directory: Path) -> Iterator[list[NatsServer]]:
    """Three servers that know each other."""
    ports = free_ports(6)
    routes = ",".join(f"nats://127.0.0.1:{port}" for port in ports[3:])
    servers = [
        NatsServer(
            directory / f"n{n}",
            ports[n],
            f'server_name: n{n}\ncluster {{ name: c, listen: "127.0.0.1:{ports[3 + n]}", routes: [{routes}] }}',
        )
        for n in range(3)
    ]
    try:
        for server in servers:
            server.start(wait=False)
        for server in servers:
            server.wait()
        yield servers
    finally:
        for server in servers:
            server.kill()


class Cut:
    """A way to a server that the test may cut: what is sent then waits, as in a network that is partitioned; `reset`
    ends the connections as well, as when an end gives up. An async context manager."""

    def __init__(self, server: NatsServer) -> None:
        self._server = server
        self._open = asyncio.Event()
        self._open.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = ""

    async def __aenter__(self) -> "Cut":
        self._listening = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"nats://127.0.0.1:{self._listening.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listening.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        self._open.clear()

    def reset(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def heal(self) -> None:
        self._open.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._open.wait()
        there, onward = await asyncio.open_connection("127.0.0.1", self._server.port)
        for source, sink in ((reader, onward), (there, writer)):
            self._writers.add(sink)
            task = asyncio.create_task(self._pass(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                await self._open.wait()
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        finally:
            self._writers.discard(sink)
            sink.close()
