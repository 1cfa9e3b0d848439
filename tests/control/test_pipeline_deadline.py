# SPDX-License-Identifier: Apache-2.0
"""A vSwitch that takes its time with a pipeline, as one does that compiles it on a slow machine."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from finsy.proto import p4r, p4r_grpc
from hvchannel_control.compiled import find_program
from hvchannel_control.config import HostConfig, SwitchSection
from hvchannel_control.reports import Reports
from hvchannel_control.vswitch import VSwitch
from pydantic import ValidationError


class Slow(p4r_grpc.P4RuntimeServicer):
    """Notes how many seconds each RPC has when it arrives."""

    def __init__(self) -> None:
        self.left: dict[str, float] = {}
        self.asked = asyncio.Event()

    async def StreamChannel(self, requests: Any, context: Any) -> AsyncIterator[p4r.StreamMessageResponse]:  # noqa: N802
        async for request in requests:
            yield p4r.StreamMessageResponse(arbitration=request.arbitration)

    async def Capabilities(self, request: Any, context: Any) -> p4r.CapabilitiesResponse:  # noqa: N802
        self.left["Capabilities"] = context.time_remaining()
        return p4r.CapabilitiesResponse(p4runtime_api_version="1.3.0")

    async def GetForwardingPipelineConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        return p4r.GetForwardingPipelineConfigResponse()

    async def SetForwardingPipelineConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.left["SetForwardingPipelineConfig"] = context.time_remaining()
        self.asked.set()
        await context.abort(grpc.StatusCode.UNAVAILABLE, "enough seen")


async def test_a_pipeline_may_take_longer_than_other_requests(tmp_path: Path) -> None:
    slow, address = Slow(), f"unix:{tmp_path}/p4rt.sock"
    server = grpc.aio.server()
    p4r_grpc.add_P4RuntimeServicer_to_server(slow, server)
    server.add_insecure_port(address)
    await server.start()
    settings = HostConfig.model_validate({"switch": {"address": address, "pipeline_timeout_s": 3000}}).switch
    program = find_program("host_vswitch")
    vswitch = VSwitch("slow", settings, program, list, lambda _: None, Reports(lambda port, vni: None))
    task = asyncio.create_task(vswitch.run())
    try:
        async with asyncio.timeout(60):
            await slow.asked.wait()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await server.stop(None)
    # gRPC rounds up what it tells the other end
    assert slow.left["SetForwardingPipelineConfig"] > 2000
    assert slow.left["Capabilities"] < 100


@pytest.mark.parametrize("seconds", [0, -1, 4000, "long"])
def test_a_time_that_cannot_be_is_refused(seconds: object) -> None:
    with pytest.raises(ValidationError, match="pipeline_timeout_s"):
        SwitchSection.model_validate({"pipeline_timeout_s": seconds})
