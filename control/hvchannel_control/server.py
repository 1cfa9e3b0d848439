# SPDX-License-Identifier: Apache-2.0
"""The control API (api/control.proto) on a unix socket that only its owner may open, or its group too."""

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import grpc
import structlog
from hvchannel_telemetry import grpc_server
from hvchannel_telemetry.log_levels import LogLevels
from hvchannel_telemetry.process_service import ProcessService

from hvchannel_control.api import control_pb2, control_pb2_grpc
from hvchannel_control.attachments import Reason, RefusedError
from hvchannel_control.controller import Controller
from hvchannel_control.logs import OWN
from hvchannel_control.store import StoreError

_STOP_GRACE_S = 0.5

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

_CODES = {
    Reason.INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.CLASH: grpc.StatusCode.ALREADY_EXISTS,
    Reason.EXHAUSTED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.ABSENT: grpc.StatusCode.NOT_FOUND,
    Reason.FIXED: grpc.StatusCode.FAILED_PRECONDITION,
}

log = structlog.get_logger()


class SocketInUseError(Exception):
    """Somebody serves the socket, or its path is none for one; the text is one line that names it."""


@asynccontextmanager
async def serving(controller: Controller, path: Path, mode: int = 0o600) -> AsyncIterator[None]:
    """Serves the API while the context lasts, on a socket of that mode (0600 or 0660). Raises SocketInUseError."""
    _clear(path)
    server = grpc.aio.server()
    control_pb2_grpc.add_ControlServicer_to_server(_Servicer(controller), server)
    process = ProcessService(controller.health(), LogLevels(OWN))
    grpc_server.add_to(server, process)
    mask = os.umask(0o777 & ~mode)
    try:
        server.add_insecure_port(f"unix:{path}")
    except RuntimeError as error:
        raise SocketInUseError(f"{path}: cannot be served; is its folder there and writable?") from error
    finally:
        os.umask(mask)
    await server.start()
    log.info("api_served", socket=str(path))
    try:
        yield
    finally:
        controller.watchers.close()
        process.close()
        await server.stop(_STOP_GRACE_S)
        _remove(path)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _clear(path: Path) -> None:
    """Takes a dead controller's socket away."""
    if not path.exists():
        return
    if not path.is_socket():
        raise SocketInUseError(f"{path}: exists and is not a socket")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            _remove(path)
            return
        except OSError as error:
            raise SocketInUseError(f"{path}: {error.strerror}") from error
    raise SocketInUseError(f"{path}: another controller serves it")


class _Servicer(control_pb2_grpc.ControlServicer):
    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    async def Attach(  # noqa: N802
        self, request: control_pb2.AttachRequest, context: _Context
    ) -> control_pb2.Vif:
        try:
            return self._controller.attach(
                request.vif_id, request.mac, request.port, request.vlan, request.vni, request.interface
            )
        except (RefusedError, StoreError) as error:
            await _abort(context, error)

    async def Detach(  # noqa: N802
        self, request: control_pb2.DetachRequest, context: _Context
    ) -> control_pb2.DetachResponse:
        try:
            self._controller.detach(request.vif_id)
        except (RefusedError, StoreError) as error:
            await _abort(context, error)
        return control_pb2.DetachResponse()

    async def List(  # noqa: N802
        self, request: control_pb2.ListRequest, context: _Context
    ) -> control_pb2.ListResponse:
        return control_pb2.ListResponse(vifs=self._controller.vifs())

    async def Watch(  # noqa: N802
        self, request: control_pb2.WatchRequest, context: _Context
    ) -> AsyncIterator[control_pb2.Event]:
        async for event in self._controller.watch():
            yield event

    async def GetStatus(  # noqa: N802
        self, request: control_pb2.GetStatusRequest, context: _Context
    ) -> control_pb2.Status:
        return await self._controller.status()

    async def Inspect(  # noqa: N802
        self, request: control_pb2.InspectRequest, context: _Context
    ) -> control_pb2.Inspection:
        try:
            return await self._controller.inspect(request.vif_id)
        except RefusedError as error:
            await _abort(context, error)

    async def Probe(  # noqa: N802
        self, request: control_pb2.ProbeRequest, context: _Context
    ) -> control_pb2.ProbeResult:
        try:
            return await self._controller.probe(request.vif_id, request.tcp_port)
        except RefusedError as error:
            await _abort(context, error)


async def _abort(context: _Context, error: RefusedError | StoreError) -> NoReturn:
    if isinstance(error, StoreError):
        log.error("store_failed", error=str(error))
        code = grpc.StatusCode.INTERNAL
    else:
        code = _CODES[error.reason]
    await context.abort(code, str(error))
    raise AssertionError("abort() raises")
