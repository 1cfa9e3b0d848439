# SPDX-License-Identifier: Apache-2.0
"""Two other ways to bring a document to a guest, over one veth pair without a switch: a plain gRPC call, and an HTTP
server like a cloud's metadata service, which the guest asks once a second."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
from hvchannel_daemons.channel import transport
from hvchannel_lab.namespaces import inside
from hvchannel_lab.topology import Topology, plan

from bench.documents.guest_end import INTERVAL, METHOD
from bench.documents.latency import WARM_UP
from bench.routes import wiring
from bench.routes.processes import running

_GRPC_PORT, _HTTP_PORT = 4001, 8775
_ROOT = Path(__file__).parents[2]  # where `python -m bench.documents.guest_end` finds itself


@contextmanager
def bare_veth(state: Path) -> Iterator[Topology]:
    """H and V, as the benchmark of packets has them. Raises OSError."""
    planned = plan("peers", state, 1)
    # By other names than a lab's: a lab that starts meanwhile would take them for those of one that died.
    hypervisor = planned.hypervisor.model_copy(update={"namespace": f"hvpeers-{os.getpid()}-h"})
    vm = planned.vms[0].model_copy(update={"namespace": f"hvpeers-{os.getpid()}-v"})
    topology = planned.model_copy(update={"hypervisors": (hypervisor,), "vms": (vm,)})
    with wiring.without_switch(topology):
        yield topology


def by_grpc(topology: Topology, folder: Path, sizes: Sequence[tuple[int, int]]) -> list[list[float]]:
    """Seconds from the call to its answer, for each size in bytes of so many documents. Raises OSError, SwitchError."""
    where = f"{topology.channel.cip}:{_GRPC_PORT}"
    with _guest_end(topology, folder, "grpc", where), inside(topology.hypervisor.namespace):
        return [asyncio.run(_calls(where, os.urandom(size), count)) for size, count in sizes]


async def _calls(where: str, content: bytes, count: int) -> list[float]:
    seconds = []
    async with grpc.aio.insecure_channel(f"ipv4:{where}", options=transport.CLIENT) as channel:
        put: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
        for _ in range(WARM_UP + count):
            began = time.perf_counter()
            await put(content)
            seconds.append(time.perf_counter() - began)
    return seconds[WARM_UP:]


def by_polling(topology: Topology, folder: Path, size: int, count: int) -> list[float]:
    """Seconds from a document's being there to the guest's word that it has it. Documents come at any moment of the
    guest's interval. Raises OSError, SwitchError."""
    address = str(topology.hypervisor.address.ip)
    with inside(topology.hypervisor.namespace):
        server = _Metadata((address, _HTTP_PORT), _Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        with _guest_end(topology, folder, "http", f"{address}:{_HTTP_PORT}"):
            return [server.put(os.urandom(size)) for _ in range(count)]
    finally:
        server.shutdown()
        server.server_close()


class _Metadata(ThreadingHTTPServer):
    """One document, and who waits for its acknowledgement."""

    daemon_threads = True
    revision, content = 0, b""

    def put(self, content: bytes) -> float:
        """Seconds until the guest has acknowledged it."""
        time.sleep(random.uniform(0, INTERVAL))
        self.acknowledged = threading.Event()
        began = time.perf_counter()
        self.revision, self.content = self.revision + 1, content
        if not self.acknowledged.wait(10 * INTERVAL):
            raise TimeoutError("the guest that polls did not acknowledge a document")
        return time.perf_counter() - began

    acknowledged = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    server: _Metadata
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        revision, content = self.server.revision, self.server.content
        self.send_response(200)
        self.send_header("ETag", str(revision))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["ETag"] == str(self.server.revision):
            self.server.acknowledged.set()
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def _guest_end(topology: Topology, folder: Path, way: str, where: str) -> Iterator[None]:
    ready = folder / f"{way}.ready"
    command = [sys.executable, "-m", "bench.documents.guest_end", way, where, str(ready)]
    environment = os.environ | {"PYTHONPATH": str(_ROOT)}
    with running(command, topology.vms[0].namespace, folder, ready, environment):
        yield
    ready.unlink(missing_ok=True)
