# SPDX-License-Identifier: Apache-2.0
"""ProcessService on a grpc.aio server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TypeAlias

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from hvchannel_telemetry import process_pb2 as pb
from hvchannel_telemetry import process_pb2_grpc
from hvchannel_telemetry.health import UnknownPartError
from hvchannel_telemetry.process_service import ProcessService

_Context: TypeAlias = "grpc.aio.ServicerContext[object, object]"

_WATCHES = 16
"""At once; each costs two looks per second."""


def add_to(server: grpc.aio.Server, service: ProcessService) -> None:
    """To be called before the server starts; `service.close()` before it stops, as watches go on for ever."""
    health_pb2_grpc.add_HealthServicer_to_server(_HealthServicer(service), server)
    process_pb2_grpc.add_ProcessServicer_to_server(_ProcessServicer(service), server)


class _HealthServicer(health_pb2_grpc.HealthServicer):
    def __init__(self, service: ProcessService) -> None:
        self._service = service
        self._watches = 0

    async def Check(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: _Context
    ) -> health_pb2.HealthCheckResponse:
        try:
            return self._service.check(request)
        except UnknownPartError as error:
            await context.abort(grpc.StatusCode.NOT_FOUND, str(error))
            raise AssertionError("abort always raises") from error

    async def Watch(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: _Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        if self._watches >= _WATCHES:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{_WATCHES} others watch already")
        self._watches += 1
        try:
            async for answer in self._service.watch(request):
                yield answer
        finally:
            self._watches -= 1


class _ProcessServicer(process_pb2_grpc.ProcessServicer):
    def __init__(self, service: ProcessService) -> None:
        self._service = service

    async def GetHealth(self, request: pb.GetHealthRequest, context: _Context) -> pb.Health:  # noqa: N802
        return self._service.get_health(request)

    async def GetLogLevels(self, request: pb.GetLogLevelsRequest, context: _Context) -> pb.LogLevels:  # noqa: N802
        return self._service.get_log_levels(request)

    async def SetLogLevel(self, request: pb.SetLogLevelRequest, context: _Context) -> pb.LogLevels:  # noqa: N802
        try:
            return self._service.set_log_level(request)
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            raise AssertionError("abort always raises") from error
