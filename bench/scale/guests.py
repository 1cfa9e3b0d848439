# SPDX-License-Identifier: Apache-2.0
"""`python -m bench.scale.guests`: the guests' daemons of a whole hypervisor in one process. Each has guestd's own store
and channel service, bound in its guest's namespace; what is left out is a process of its own and the local API."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from hvchannel_daemons import logs
from hvchannel_daemons.channel import channel_pb2_grpc, transport
from hvchannel_daemons.guestd.channel_service import ChannelService
from hvchannel_daemons.guestd.files import Files
from hvchannel_daemons.guestd.store import GuestStore
from hvchannel_lab.namespaces import inside

from bench.scale.usage import allow_descriptors
from bench.scale.world import CIP, GUEST_PORT, Guest

_OPENING = 8  # stores at once: each waits for the disk
DESCRIPTORS = 12
"""Of one guest, at most: store, listening socket, connection."""


async def serve(prefix: str, count: int, folder: Path, on_ready: Callable[[], None]) -> None:
    """Serves the first `count` guests of the world with this prefix until SIGTERM; calls `on_ready` once all listen.
    Raises OSError, DatabaseError."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    guests = [Guest(number, prefix) for number in range(count)]
    with ThreadPoolExecutor(_OPENING) as pool:
        stores = list(pool.map(lambda guest: GuestStore(folder / guest.vif), guests))
    servers = [
        await _listen(guest, ChannelService(store, Files(store, None)))
        for guest, store in zip(guests, stores, strict=True)
    ]
    on_ready()
    await stop.wait()
    await asyncio.gather(*(server.stop(None) for server in servers))
    for store in stores:
        await store.close()


async def _listen(guest: Guest, service: ChannelService) -> grpc.aio.Server:
    server = grpc.aio.server(options=transport.SERVER, maximum_concurrent_rpcs=16)
    channel_pb2_grpc.add_ChannelServicer_to_server(service, server)
    with inside(guest.namespace):  # where the socket is made, it stays
        server.add_insecure_port(f"{CIP}:{GUEST_PORT}")
    await server.start()
    return server


def main(arguments: list[str]) -> None:
    """PREFIX COUNT FOLDER READY."""
    prefix, count, folder, ready = arguments
    logs.set_up("error", None)
    allow_descriptors(int(count) * DESCRIPTORS + 200)
    asyncio.run(serve(prefix, int(count), Path(folder), Path(ready).touch))


if __name__ == "__main__":
    main(sys.argv[1:])
