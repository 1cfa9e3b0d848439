# SPDX-License-Identifier: Apache-2.0
"""Hooks are started beside gRPC's threads, which must not be halted for it."""

import subprocess
import sys

BUSY = """
import asyncio
import uvloop
import hvchannel_daemons.guestd  # before gRPC, as guestd does
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

async def main():
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(HealthServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        over = asyncio.Event()
        async def call():
            while not over.is_set():
                await stub.Check(health_pb2.HealthCheckRequest())
        calls = [asyncio.create_task(call()) for _ in range(4)]
        for _ in range(40):
            await (await asyncio.create_subprocess_exec("/bin/true")).wait()
        over.set()
        await asyncio.gather(*calls)
    await server.stop(None)

uvloop.run(main())
"""


def test_starting_a_hook_does_not_halt_grpc() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BUSY], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "fork" not in done.stderr
