# SPDX-License-Identifier: Apache-2.0
"""`python -m bench.documents.guest_end`: the guest's end of the two other ways to bring a document there. Neither keeps
it, so what guestd's own store costs is in no peer's figure."""

from __future__ import annotations

import asyncio
import sys
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import grpc
from hvchannel_daemons.channel import transport

METHOD = "/bench.Documents/Put"
INTERVAL = 1.0  # seconds between two polls


async def answer(address: str, ready: Path) -> None:
    """A gRPC server whose one method takes bytes and answers none."""

    async def put(_content: bytes, _context: Any) -> bytes:
        return b""

    server = grpc.aio.server(options=transport.SERVER)
    # without a serializer, bytes are as they are
    method: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(
        put
    )  # bytes as they are, for want of a serializer
    service, name = METHOD.strip("/").split("/")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {name: method}),))
    server.add_insecure_port(address)
    await server.start()
    await asyncio.to_thread(ready.touch)
    await server.wait_for_termination()


def poll(address: str, ready: Path) -> None:
    """Asks a metadata server for the document once a second, as the guests of clouds do, and tells it what it got."""
    connection = HTTPConnection(address)
    ready.touch()
    seen = ""
    while True:
        began = time.monotonic()
        connection.request("GET", "/document")
        answered = connection.getresponse()
        revision, content = answered.headers["ETag"], answered.read()
        if revision != seen:
            seen = revision
            connection.request("POST", "/document", str(len(content)).encode(), {"ETag": revision})
            connection.getresponse().read()
        time.sleep(max(0.0, began + INTERVAL - time.monotonic()))


def main(arguments: list[str]) -> None:
    """grpc or http, ADDRESS:PORT, READY."""
    way, where, ready = arguments
    if way == "grpc":
        asyncio.run(answer(where, Path(ready)))
    else:
        poll(where, Path(ready))


if __name__ == "__main__":
    main(sys.argv[1:])
