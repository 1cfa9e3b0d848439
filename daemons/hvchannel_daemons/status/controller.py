# SPDX-License-Identifier: Apache-2.0
"""The controller's side of the picture, over its local API; a controller that does not answer is no surprise here."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import grpc
from hvchannel_control.api import control_pb2 as pb
from hvchannel_control.api import control_pb2_grpc

from hvchannel_daemons.channel import transport

_SECONDS = 5.0
_PROBE_SECONDS = 40.0

T = TypeVar("T")


class ControllerAwayError(Exception):
    """The controller does not answer; one line that names its socket."""


class NotAttachedError(Exception):
    """The controller has no such VIF; its own words."""


@dataclass(frozen=True, slots=True)
class Attached:
    """What a controller says of its vSwitch and all its VIFs."""

    status: pb.Status = field(default_factory=pb.Status)
    vifs: dict[str, pb.Vif] = field(default_factory=dict)


class Controller:
    """At `socket`. Every method raises ControllerAwayError; it may be used in one event loop."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket

    async def attached(self) -> Attached:
        async def both(stub: Any) -> Attached:
            status: pb.Status = await stub.GetStatus(pb.GetStatusRequest(), timeout=_SECONDS)
            listed: pb.ListResponse = await stub.List(pb.ListRequest(), timeout=_SECONDS)
            return Attached(status, {vif.vif_id: vif for vif in listed.vifs})

        return await self._ask(both)

    async def inspect(self, vif: str) -> pb.Inspection:
        """Raises NotAttachedError."""

        async def ask(stub: Any) -> pb.Inspection:
            answer: pb.Inspection = await stub.Inspect(pb.InspectRequest(vif_id=vif), timeout=_SECONDS)
            return answer

        return await self._ask(ask)

    async def probe(self, vif: str, tcp_port: int) -> pb.ProbeResult:
        """Raises NotAttachedError."""

        async def ask(stub: Any) -> pb.ProbeResult:
            request = pb.ProbeRequest(vif_id=vif, tcp_port=tcp_port)
            answer: pb.ProbeResult = await stub.Probe(request, timeout=_PROBE_SECONDS)
            return answer

        return await self._ask(ask)

    async def _ask(self, use: Callable[[Any], Awaitable[T]]) -> T:
        target = f"unix:{self.socket.absolute()}"
        async with grpc.aio.insecure_channel(target, options=transport.LOCAL) as channel:
            try:
                return await use(control_pb2_grpc.ControlStub(channel))
            except grpc.aio.AioRpcError as error:
                raise self._explained(error) from error

    def _explained(self, error: grpc.aio.AioRpcError) -> Exception:
        match error.code():
            case grpc.StatusCode.NOT_FOUND:
                return NotAttachedError(error.details() or "not attached")
            case grpc.StatusCode.UNAVAILABLE:
                return ControllerAwayError(f"no controller answers at {self.socket}")
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                return ControllerAwayError(f"the controller at {self.socket} does not answer in time")
            case code:
                return ControllerAwayError(f"the controller at {self.socket}: {code.name}: {error.details()}")
