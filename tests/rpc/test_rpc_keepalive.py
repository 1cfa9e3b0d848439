# SPDX-License-Identifier: Apache-2.0
"""A client that is gone without a word is given up, with what it held; one that only has nothing to say is not."""

import asyncio

import pytest
from hvchannel_softswitch.rpc import keepalive
from hyperframe.frame import DataFrame, PingFrame, SettingsFrame

from .conftest import PREFACE

WITHIN = 60  # seconds


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(keepalive, "INTERVAL", 0.2)


async def test_a_silent_clients_calls_end(connect, methods):
    """As a controller's old stream, whose other end is not there any more, must not stay primary."""
    client = await connect()
    client.write(PREFACE, SettingsFrame(0), client.headers(1, "/t.T/EchoAll"), DataFrame(1, b"\0\0\0\0\1a"))
    await client.frame(DataFrame)
    await client.frame(PingFrame)
    await asyncio.wait_for(methods.ended.wait(), WITHIN)


async def test_a_client_that_answers_is_kept(channel, methods):
    stream = channel.stream_stream("/t.T/EchoAll")()
    await stream.write(b"a")
    assert await stream.read() == b"a"
    await asyncio.sleep(1.0)  # several times as long as the silence that ends it
    await stream.write(b"b")
    assert await stream.read() == b"b"
    assert not methods.ended.is_set()
