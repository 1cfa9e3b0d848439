# SPDX-License-Identifier: Apache-2.0
"""Serves a process's metrics in Prometheus' text format, on its event loop: `GET /metrics`, nothing else.

No web framework: a scrape is one request of a few lines, and whoever reaches the address may send anything, so what is
taken is bounded in size, time and number. Values are read on the loop, where what they are of lives; the text is made
in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final

import structlog
from prometheus_client import (
    CollectorRegistry,
    Metric,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from hvchannel_telemetry import private_socket
from hvchannel_telemetry.metrics_address import MetricsAddress

PATH: Final = "/metrics"
REQUEST_BYTES: Final = 4096
SECONDS: Final = 5.0
"""For a request and its answer."""
AT_ONCE: Final = 4

log = structlog.get_logger(__name__)

Prepare = Callable[[], Awaitable[None]]


class MetricsAddressError(Exception):
    """Metrics cannot be served there; one line."""


async def _nothing() -> None:
    return None


@asynccontextmanager
async def serving(
    address: MetricsAddress | None, registry: CollectorRegistry, prepare: Prepare = _nothing
) -> AsyncIterator[MetricsAddress | None]:
    """Serves the registry's metrics, and those of the process (CPU, memory, file descriptors), while the context lasts;
    None: nowhere. `prepare` is awaited before each scrape, for what cannot be read at once.

    The context's value is the address, with the port that a 0 became. Raises MetricsAddressError.
    """
    if address is None:
        yield None
        return
    disable_created_metrics()  # type: ignore[no-untyped-call]  # of each counter another series that nobody asks for
    for collector in (ProcessCollector(registry=None), PlatformCollector(registry=None)):
        registry.register(collector)
    exposition = _Exposition(registry, prepare)
    try:
        if address.path is not None:
            # the socket is bound here: asyncio's own would be open to others for a moment
            server = await asyncio.start_unix_server(
                exposition.answer, sock=private_socket.bind(address.path), limit=REQUEST_BYTES
            )
        else:
            server = await asyncio.start_server(
                exposition.answer, address.host, address.port, limit=REQUEST_BYTES
            )
            address = MetricsAddress(host=address.host, port=server.sockets[0].getsockname()[1])
    except private_socket.SocketError as error:
        raise MetricsAddressError(f"--metrics: {error}") from error
    except OSError as error:
        raise MetricsAddressError(f"--metrics: cannot listen on {address}: {error.strerror}") from error
    log.info("metrics_served", address=str(address))
    try:
        yield address
    finally:
        server.close()
        await exposition.close()
        if address.path is not None:
            address.path.unlink(missing_ok=True)


class _Exposition:
    def __init__(self, registry: CollectorRegistry, prepare: Prepare) -> None:
        self._registry = registry
        self._prepare = prepare
        self._answering: set[asyncio.Task[None]] = set()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        task = asyncio.current_task()
        assert task is not None
        if len(self._answering) >= AT_ONCE:
            writer.write(_response(HTTPStatus.SERVICE_UNAVAILABLE, b"too many scrapes at once\n"))
            writer.close()
            return
        self._answering.add(task)
        try:
            async with asyncio.timeout(SECONDS):
                writer.write(await self._respond(reader))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (TimeoutError, OSError, asyncio.CancelledError):  # only `close` cancels
            writer.transport.abort()
        finally:
            self._answering.discard(task)
            writer.close()

    async def close(self) -> None:
        """Ends what is being answered."""
        answering = list(self._answering)
        for task in answering:
            task.cancel()
        await asyncio.gather(*answering, return_exceptions=True)

    async def _respond(self, reader: asyncio.StreamReader) -> bytes:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return _response(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, b"the request is too long\n")
        except asyncio.IncompleteReadError:
            return _response(HTTPStatus.BAD_REQUEST, b"the request ends too early\n")
        words = head.partition(b"\r\n")[0].split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return _response(HTTPStatus.BAD_REQUEST, b"no HTTP/1 request\n")
        method, target, _ = words
        if target.partition(b"?")[0] != PATH.encode():
            return _response(HTTPStatus.NOT_FOUND, f"metrics are at {PATH}\n".encode())
        if method not in (b"GET", b"HEAD"):
            return _response(HTTPStatus.METHOD_NOT_ALLOWED, b"valid: GET, HEAD\n")
        body = await self._text()
        return _response(HTTPStatus.OK, body, CONTENT_TYPE_LATEST, with_body=method == b"GET")

    async def _text(self) -> bytes:
        await self._prepare()
        return await asyncio.to_thread(generate_latest, _Collected(self._registry.collect()))


class _Collected(CollectorRegistry):
    """Metrics as they were."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = list(metrics)

    def collect(self) -> Iterable[Metric]:
        """They."""
        return self._metrics


def _response(
    status: HTTPStatus,
    body: bytes,
    content_type: str = "text/plain; charset=utf-8",
    *,
    with_body: bool = True,
) -> bytes:
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (body if with_body else b"")
