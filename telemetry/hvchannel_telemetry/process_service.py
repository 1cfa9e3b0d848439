# SPDX-License-Identifier: Apache-2.0
"""Health and log levels as gRPC's answers, whatever server carries them: requests and answers are messages."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from grpc_health.v1 import health_pb2

from hvchannel_telemetry import process_pb2 as pb
from hvchannel_telemetry.health import Health, UnknownPartError
from hvchannel_telemetry.log_levels import LogLevels

HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
PROCESS = pb.DESCRIPTOR.services_by_name["Process"].full_name

_STATUS = {
    True: health_pb2.HealthCheckResponse.SERVING,
    False: health_pb2.HealthCheckResponse.NOT_SERVING,
    None: health_pb2.HealthCheckResponse.SERVICE_UNKNOWN,
}


class ProcessService:
    """What a process answers about itself."""

    def __init__(self, health: Health, levels: LogLevels) -> None:
        self.health = health
        self._levels = levels

    def check(self, request: health_pb2.HealthCheckRequest) -> health_pb2.HealthCheckResponse:
        """grpc.health.v1's Check. Raises UnknownPartError, which is NOT_FOUND."""
        return _answer(not self.health.why_not(request.service))

    async def watch(
        self, request: health_pb2.HealthCheckRequest
    ) -> AsyncGenerator[health_pb2.HealthCheckResponse, None]:
        """grpc.health.v1's Watch: an unknown part is told of, not refused, as it may come."""
        async for serves in self.health.changes(request.service):
            yield _answer(serves)

    def get_health(self, request: pb.GetHealthRequest) -> pb.Health:
        """With reasons."""
        return pb.Health(parts=self.health.parts())

    def get_log_levels(self, request: pb.GetLogLevelsRequest) -> pb.LogLevels:
        """The levels in force."""
        settings = {
            part: pb.LogLevels.Setting(level=now.level, seconds=now.seconds)
            for part, now in self._levels.levels().items()
        }
        return pb.LogLevels(settings=settings, parts=self._levels.parts())

    def set_log_level(self, request: pb.SetLogLevelRequest) -> pb.LogLevels:
        """Raises ValueError, which is INVALID_ARGUMENT."""
        self._levels.change(request.level, request.part, request.seconds)
        return self.get_log_levels(pb.GetLogLevelsRequest())

    def close(self) -> None:
        """Health watches end, levels are as they were."""
        self.health.close()
        self._levels.close()


def _answer(serves: bool | None) -> health_pb2.HealthCheckResponse:
    return health_pb2.HealthCheckResponse(status=_STATUS[serves])


__all__ = ["HEALTH", "PROCESS", "ProcessService", "UnknownPartError"]
