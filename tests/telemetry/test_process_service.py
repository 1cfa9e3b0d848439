# SPDX-License-Identifier: Apache-2.0
"""Health and log levels of a process, asked over its socket as an operator does."""

import asyncio
import logging
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hvchannel_telemetry import grpc_server, private_socket
from hvchannel_telemetry.client import ProcessClient, ProcessError
from hvchannel_telemetry.health import Health
from hvchannel_telemetry.log_levels import LogLevels
from hvchannel_telemetry.process_service import ProcessService

OWN = ("hvchannel_telemetry",)
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


@pytest.fixture
def troubles() -> dict[str, str]:
    """Why parts do not serve."""
    return {"feed": "", "switch": "it is off"}


@pytest.fixture
async def socket(tmp_path: Path, troubles: dict[str, str]) -> AsyncIterator[Path]:
    async with _served(tmp_path / "process.sock", troubles) as path:
        yield path


@asynccontextmanager
async def _served(path: Path, troubles: dict[str, str]) -> AsyncIterator[Path]:
    logging.getLogger(OWN[0]).setLevel(logging.INFO)
    checks = {name: (lambda name=name: troubles[name]) for name in troubles}
    service = ProcessService(Health(checks), LogLevels(OWN))
    server = grpc.aio.server()
    grpc_server.add_to(server, service)
    private_socket.add_to(server, path)
    await server.start()
    yield path
    service.close()
    await server.stop(1)


async def _check(socket: Path, part: str) -> int:
    async with grpc.aio.insecure_channel(f"unix:{socket}") as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=part))
        return int(answer.status)


async def test_each_part_is_asked_for_by_name_and_the_whole_serves_when_all_do(
    socket: Path, troubles: dict[str, str]
) -> None:
    assert await _check(socket, "feed") == SERVING
    assert await _check(socket, "switch") == NOT_SERVING
    assert await _check(socket, "") == NOT_SERVING
    troubles["switch"] = ""
    assert await _check(socket, "") == SERVING


async def test_an_unknown_part_is_refused_with_the_valid_ones(socket: Path) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _check(socket, "fed")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert caught.value.details() == "no part 'fed' (valid: (empty: all), feed, switch)"


async def test_a_watch_tells_each_change_and_the_end(tmp_path: Path, troubles: dict[str, str]) -> None:
    seen: list[int] = []
    async with grpc.aio.insecure_channel(f"unix:{tmp_path}/s") as channel:
        async with _served(tmp_path / "s", troubles):
            stub = health_pb2_grpc.HealthStub(channel)
            unknown = stub.Watch(health_pb2.HealthCheckRequest(service="fed"))
            assert (await anext(aiter(unknown))).status == UNKNOWN
            call = stub.Watch(health_pb2.HealthCheckRequest(service="switch"))
            watch = aiter(call)
            seen.append((await anext(watch)).status)
            troubles["switch"] = ""
            seen.append((await anext(watch)).status)
        seen.append((await anext(watch)).status)
    assert seen == [NOT_SERVING, SERVING, NOT_SERVING]


async def test_the_reasons_are_told_beside_the_word(socket: Path) -> None:
    def ask() -> dict[str, str]:
        with ProcessClient(socket) as client:
            return client.health()

    assert await asyncio.to_thread(ask) == {"feed": "", "switch": "it is off"}


async def test_the_level_of_a_part_changes_and_goes_back(socket: Path) -> None:
    def change(level: str, part: str = "", seconds: float = 0.0) -> dict[str, str]:
        with ProcessClient(socket) as client:
            answer = client.set_log_level(level, part, seconds)
            return {name: setting.level for name, setting in answer.settings.items()}

    health = logging.getLogger("hvchannel_telemetry.health")
    assert await asyncio.to_thread(change, "debug", "health") == {"": "info", "health": "debug"}
    assert health.isEnabledFor(logging.DEBUG)
    assert await asyncio.to_thread(change, "error") == {"": "error", "health": "debug"}
    assert await asyncio.to_thread(change, "", "health") == {"": "error"}
    assert not health.isEnabledFor(logging.WARNING)
    assert await asyncio.to_thread(change, "") == {"": "info"}
    assert await asyncio.to_thread(change, "debug", "", 0.05) == {"": "debug"}
    while logging.getLogger(OWN[0]).level == logging.DEBUG:  # noqa: ASYNC110 - levels have no event
        await asyncio.sleep(0.01)
    assert health.getEffectiveLevel() == logging.INFO


@pytest.mark.parametrize(
    ("level", "part", "seconds", "said"),
    [
        ("loud", "", 0, "log level 'loud' is not known (valid: debug, info, warning, error)"),
        ("debug", "haelth", 0, "no part 'haelth' (valid: client, "),
        ("debug", "", -1, "-1 seconds are not valid (valid: 0, for good, to 604800)"),
    ],
)
async def test_what_is_not_valid_is_named_with_what_is(
    socket: Path, level: str, part: str, seconds: float, said: str
) -> None:
    def change() -> None:
        with ProcessClient(socket) as client:
            client.set_log_level(level, part, seconds)

    with pytest.raises(ProcessError) as caught:
        await asyncio.to_thread(change)
    assert str(caught.value).startswith(said)


def test_nobody_there_is_said_in_one_line(tmp_path: Path) -> None:
    with ProcessClient(tmp_path / "none.sock") as client, pytest.raises(ProcessError) as caught:
        client.health()
    assert str(caught.value) == f"nobody answers at {tmp_path}/none.sock"


async def test_the_socket_is_its_owners_alone_and_served_once(socket: Path) -> None:
    assert stat.S_IMODE(socket.stat().st_mode) == 0o600  # noqa: ASYNC240
    with pytest.raises(private_socket.SocketError, match="is served by another process"):
        private_socket.add_to(grpc.aio.server(), socket)
