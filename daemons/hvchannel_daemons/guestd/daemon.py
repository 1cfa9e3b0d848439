# SPDX-License-Identifier: Apache-2.0
"""guestd put together: store, channel server, local server; from start to clean end."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import structlog
from hvchannel_telemetry import exposition, grpc_server
from hvchannel_telemetry.health import Health
from hvchannel_telemetry.log_levels import LogLevels
from hvchannel_telemetry.metrics_address import MetricsAddress
from hvchannel_telemetry.process_service import ProcessService
from prometheus_client import CollectorRegistry

from hvchannel_daemons import logs
from hvchannel_daemons.channel import channel_pb2_grpc, transport
from hvchannel_daemons.channel.tls import Tls
from hvchannel_daemons.channel.versions import SPOKEN, Versions
from hvchannel_daemons.guestd import whose
from hvchannel_daemons.guestd.channel_service import ChannelService
from hvchannel_daemons.guestd.damage import ASIDE
from hvchannel_daemons.guestd.file_access import Access
from hvchannel_daemons.guestd.file_tree import FileTree
from hvchannel_daemons.guestd.files import Files
from hvchannel_daemons.guestd.hooks import HookOptions, Hooks
from hvchannel_daemons.guestd.listening import Endpoint, add_channel_port, add_local_socket
from hvchannel_daemons.guestd.local_service import LocalService
from hvchannel_daemons.guestd.metrics import GuestdCollector
from hvchannel_daemons.guestd.store import GuestStore
from hvchannel_daemons.local import guest_local_pb2_grpc
from hvchannel_daemons.storage.database import DamagedError

log = structlog.get_logger()

_GRACE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Options:
    listen: Endpoint
    state: Path  # directory of the store
    socket: Path  # of the local API
    versions: Versions = SPOKEN
    files: Path | None = None  # directory of the documents' files; None: there are none
    files_access: Access = Access()  # noqa: RUF009 - frozen
    hooks: HookOptions | None = None
    metrics: MetricsAddress | None = None
    tls: Tls | None = None  # on the channel


async def run(
    options: Options, stop: asyncio.Event, *, on_ready: Callable[[int], None] | None = None
) -> None:
    """Serves until `stop` is set. `on_ready` gets the channel's port once both servers listen.

    The local API is up before the channel's address exists: local programs read what was delivered earlier.
    The files are right before either server listens.
    A store that is damaged is set aside at the start; when it turns out to be meanwhile, this ends.
    Raises ListenError, StoreInUse, DatabaseError, FilesError, HooksError,
    MetricsAddressError.
    """
    store = await asyncio.to_thread(GuestStore, options.state)
    if store.set_aside:
        log.error(
            "store_set_aside",
            why=store.set_aside,
            now=str(options.state / f"store.db{ASIDE}"),
            lost="reports that were not delivered; documents come again, and their hooks run again",
        )
    damaged: list[DamagedError] = []
    loop = asyncio.get_running_loop()

    def note(error: DamagedError) -> None:
        damaged.append(error)
        loop.call_soon_threadsafe(stop.set)

    store.on_damage(note)
    try:
        whose.known((await store.counts())[0])
        tree = None
        if options.files is not None:
            tree = await asyncio.to_thread(FileTree, options.files, options.files_access)
        files = Files(store, tree, keeps=bool(store.set_aside))
        try:
            await files.publish()
            await _serve(options, store, files, stop, on_ready)
        finally:
            await files.close()
    finally:
        await store.close()
        log.info("stopped")
    if damaged:  # the next start sets the store aside
        raise damaged[0]


async def _serve(
    options: Options,
    store: GuestStore,
    files: Files,
    stop: asyncio.Event,
    on_ready: Callable[[int], None] | None,
) -> None:
    runner = None
    if options.hooks is not None:
        runner = Hooks(store, files, options.hooks, options.socket)
        files.on_published = runner.wake
    channel = ChannelService(store, files, versions=options.versions, tls=options.tls is not None)
    local = LocalService(store, files, runner, channel)
    channel_server = grpc.aio.server(options=transport.SERVER, maximum_concurrent_rpcs=16)
    local_server = grpc.aio.server(options=transport.LOCAL)
    health = Health({"channel": lambda: "waits for its address", "session": lambda: _no_session(channel)})
    process = ProcessService(health, LogLevels(logs.OWN))
    channel_pb2_grpc.add_ChannelServicer_to_server(channel, channel_server)
    guest_local_pb2_grpc.add_GuestServicer_to_server(local, local_server)
    grpc_server.add_to(local_server, process)
    collector, registry = GuestdCollector(store, channel, options.tls), CollectorRegistry()
    collector.register(registry)
    observed = AsyncExitStack()
    add_local_socket(local_server, options.socket)
    try:
        if runner is not None:
            await runner.start()
        await local_server.start()
        await observed.enter_async_context(exposition.serving(options.metrics, registry, collector.prepare))
        if options.tls is not None:
            await observed.enter_async_context(options.tls.watched())
        port = await _unless(stop, add_channel_port(channel_server, options.listen, options.tls))
        if port is not None:
            await channel_server.start()
            health.add("channel", lambda: "")
            log.info("listening", channel=str(options.listen), socket=str(options.socket))
            if on_ready is not None:
                on_ready(port)
            await stop.wait()
    finally:
        channel.stop()
        local.stop()
        process.close()
        await observed.aclose()
        await asyncio.gather(channel_server.stop(_GRACE_SECONDS), local_server.stop(_GRACE_SECONDS))
        if runner is not None:
            await runner.stop()
        options.socket.unlink(missing_ok=True)


def _no_session(channel: ChannelService) -> str:
    """Why the hypervisor and this guest do not talk."""
    if channel.current is None:
        return channel.last_close or "the hypervisor has not come yet"
    return "" if channel.current.synced else "the documents of before are still coming"


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, int]) -> int | None:
    """The result of `work`, or None when `stop` comes first."""
    working = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        working.cancel()
        stopping.cancel()
