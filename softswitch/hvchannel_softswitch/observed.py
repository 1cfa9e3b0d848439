# SPDX-License-Identifier: Apache-2.0
"""What an operator may ask the switch about itself at its P4Runtime address: health, log levels."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from typing import Any, TypeVar

from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health_pb2
from hvchannel_telemetry import process_pb2
from hvchannel_telemetry.health import Health, UnknownPartError
from hvchannel_telemetry.process_service import HEALTH, PROCESS, ProcessService

from hvchannel_softswitch.p4runtime.errors import Code
from hvchannel_softswitch.rpc import RpcError, StreamingMethod, UnaryMethod
from hvchannel_softswitch.switch import DataPath

_Request = TypeVar("_Request", bound=Message)


def health_of(switch: DataPath[Any]) -> Health:
    """The switch forwards when it has a pipeline, and all interfaces that are there carry frames. One that is not there
    is waited for: it is of a machine that is off, or elsewhere."""

    def ports() -> str:
        there = {name for _, name in socket.if_nameindex()}
        down = [
            f"{number} ({state.interface})"
            for number, state in switch.port_states().items()
            if state.interface in there and not state.is_up
        ]
        return f"down: {', '.join(down)}" if down else ""

    def pipeline() -> str:
        return "" if switch.engine is not None else "none is set"

    return Health({"pipeline": pipeline, "ports": ports})


def unary(process: ProcessService) -> Mapping[str, UnaryMethod]:
    """The methods of one answer, by path."""
    return {
        f"/{HEALTH}/Check": _unary(health_pb2.HealthCheckRequest, process.check),
        f"/{PROCESS}/GetHealth": _unary(process_pb2.GetHealthRequest, process.get_health),
        f"/{PROCESS}/GetLogLevels": _unary(process_pb2.GetLogLevelsRequest, process.get_log_levels),
        f"/{PROCESS}/SetLogLevel": _unary(process_pb2.SetLogLevelRequest, process.set_log_level),
    }


def streaming(process: ProcessService) -> Mapping[str, StreamingMethod]:
    """The methods of many answers, by path."""

    async def watch(requests: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        async for data in requests:
            async with contextlib.aclosing(
                process.watch(_parsed(health_pb2.HealthCheckRequest, data))
            ) as answers:
                async for answer in answers:
                    yield answer.SerializeToString()
            return

    return {f"/{HEALTH}/Watch": watch}


def _unary(kind: type[_Request], handle: Callable[[_Request], Message]) -> UnaryMethod:
    def method(data: bytes) -> bytes:
        try:
            return handle(_parsed(kind, data)).SerializeToString()
        except UnknownPartError as error:
            raise RpcError(Code.NOT_FOUND.value, str(error)) from error
        except ValueError as error:
            raise RpcError(Code.INVALID_ARGUMENT.value, str(error)) from error

    return method


def _parsed(kind: type[_Request], data: bytes) -> _Request:
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise RpcError(
            Code.INVALID_ARGUMENT.value, f"the request is no {kind.DESCRIPTOR.full_name}"
        ) from error
