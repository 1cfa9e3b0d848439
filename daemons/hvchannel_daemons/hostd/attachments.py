# SPDX-License-Identifier: Apache-2.0
"""Which VIFs are attached, and where: control's Watch, for ever, across restarts of the controller."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

import grpc
import structlog
from hvchannel_control.api import control_pb2 as pb
from hvchannel_control.api import control_pb2_grpc

from hvchannel_daemons.channel import transport
from hvchannel_daemons.hostd.backoff import Backoff
from hvchannel_daemons.hostd.condition import Condition

log = structlog.get_logger()


class Attached(Protocol):
    """Who wants to know. While the controller is away nothing is called:
    what was attached is taken to be still."""

    async def attached(self, vif: str, lip: str) -> None:
        """The switch passes packets to this VIF at this LIP; also called again for one that is known."""

    async def detached(self, vif: str) -> None: ...

    async def only(self, vifs: set[str]) -> None:
        """These are all there are: others were detached while nobody was listening."""


async def follow(control: Path, listener: Attached, condition: Condition) -> None:
    """Never returns. `control`: the controller's unix socket."""
    backoff = Backoff()
    said = ""
    while True:
        try:
            async with grpc.aio.insecure_channel(f"unix:{control}", options=transport.LOCAL) as channel:
                async for synced in _watch(channel, listener):
                    if synced:
                        backoff.reset()
                        said = condition.controller_away = ""
                        log.info("controller_connected", control=str(control))
            reason = "the controller ended the stream"
        except grpc.aio.AioRpcError as error:
            reason = f"{error.code().name}: {error.details()}"
        condition.controller_away = reason
        if reason != said:
            said = reason
            log.warning("controller_lost", control=str(control), reason=reason)
        await asyncio.sleep(backoff.pause())


async def _watch(channel: grpc.aio.Channel, listener: Attached) -> AsyncIterator[bool]:
    """Passes events on; yields True once the state at the call is complete."""
    announced: set[str] = set()
    async for event in control_pb2_grpc.ControlStub(channel).Watch(pb.WatchRequest()):
        match event.WhichOneof("event"):
            case "attached":
                announced.add(event.attached.vif_id)
                # a VIF that the switch does not have yet cannot be reached; one that it had before keeps
                # its session
                if event.attached.state == pb.Vif.REALISED and event.attached.lip:
                    await listener.attached(event.attached.vif_id, event.attached.lip)
            case "detached":
                announced.discard(event.detached)
                await listener.detached(event.detached)
            case "synced":
                await listener.only(announced)
                yield True
