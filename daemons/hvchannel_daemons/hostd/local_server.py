# SPDX-License-Identifier: Apache-2.0
"""hostd's own server, for its operator: a unix socket with its health and log levels."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import structlog
from hvchannel_telemetry import grpc_server, private_socket
from hvchannel_telemetry.process_service import ProcessService

from hvchannel_daemons.channel import transport

log = structlog.get_logger()

_GRACE_SECONDS = 0.5


@asynccontextmanager
async def serving(path: Path | None, process: ProcessService) -> AsyncIterator[None]:
    """Serves while the context lasts; None: nowhere. Raises SocketError."""
    if path is None:
        yield
        return
    server = grpc.aio.server(options=transport.LOCAL)
    grpc_server.add_to(server, process)
    private_socket.add_to(server, path)
    await server.start()
    log.info("local_socket", socket=str(path))
    try:
        yield
    finally:
        process.close()
        await server.stop(_GRACE_SECONDS)
        path.unlink(missing_ok=True)  # noqa: ASYNC240 - one system call
