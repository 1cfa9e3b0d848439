# SPDX-License-Identifier: Apache-2.0
"""Each process answers the gRPC health protocol, and changes its log level, at the address that it has anyway."""

import time

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hvchannel_telemetry.client import ProcessClient

from .conftest import DEADLINE_S, PROCESSES, Start

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

SOCKETS = {
    "softswitch": "p4rt.sock",
    "hvchannel-control": "control.sock",
    "hostd": "hostd.sock",
    "guestd": "guestd.sock",
}
PARTS = {
    "softswitch": {"pipeline": SERVING, "ports": SERVING},
    "hvchannel-control": {"switch": NOT_SERVING, "tables": NOT_SERVING},
    "hostd": {"feed": SERVING, "controller": NOT_SERVING},
    "guestd": {"channel": SERVING, "session": NOT_SERVING},
}
"""Each alone."""


@pytest.mark.parametrize("process", PROCESSES)
def test_parts_and_the_whole(process: str, start: Start) -> None:
    socket = start(*PROCESSES[process]).parent / SOCKETS[process]
    with grpc.insecure_channel(f"unix:{socket}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)

        def first(part: str) -> int:
            """What a watch says at once."""
            watch = stub.Watch(health_pb2.HealthCheckRequest(service=part), timeout=20)
            status = int(next(iter(watch)).status)
            watch.cancel()
            return status

        def check(part: str) -> int:
            return int(stub.Check(health_pb2.HealthCheckRequest(service=part), timeout=20).status)

        whole = SERVING if set(PARTS[process].values()) == {SERVING} else NOT_SERVING
        expected = {"": whole, **PARTS[process]}
        deadline = time.monotonic() + DEADLINE_S
        while {part: check(part) for part in expected} != expected and time.monotonic() < deadline:
            time.sleep(0.05)  # it serves its metrics before it is all there
        assert {part: check(part) for part in expected} == expected
        assert {part: first(part) for part in expected} == expected
        assert first("nothing") == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        with pytest.raises(grpc.RpcError) as caught:
            check("nothing")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert "no part 'nothing' (valid: (empty: all), " in caught.value.details()
    with ProcessClient(socket) as client:
        reasons = client.health()
        assert {part: SERVING if not why else NOT_SERVING for part, why in reasons.items()} == PARTS[process]


@pytest.mark.parametrize("process", PROCESSES)
def test_the_log_level(process: str, start: Start) -> None:
    with ProcessClient(start(*PROCESSES[process]).parent / SOCKETS[process]) as client:
        assert client.log_levels().settings[""].level == "info"
        assert client.set_log_level("debug", seconds=600).settings[""].level == "debug"
        assert client.set_log_level("").settings[""].level == "info"
