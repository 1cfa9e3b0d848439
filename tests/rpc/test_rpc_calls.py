# SPDX-License-Identifier: Apache-2.0
"""What a grpcio client gets from the server."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio
import pytest
from hvchannel_softswitch.rpc import call as rpc_call
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize("size", [0, 1, 1000, 16_384, 65_535, 300_000, 5_000_000])
async def test_messages_of_all_sizes_come_and_go(channel, size):
    sent = bytes(range(256)) * (size // 256) + bytes(size % 256)
    assert await channel.unary_unary("/t.T/Echo")(sent, timeout=30) == sent


async def test_many_calls_at_once_are_all_answered(channel, methods):
    echo = channel.unary_unary("/t.T/Echo")
    sent = [b"%d" % number for number in range(1000)]
    assert await asyncio.gather(*(echo(data) for data in sent)) == sent
    assert sorted(methods.asked) == sorted(sent)


async def _failure(call) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


@pytest.mark.parametrize("size", [0, 10, 48_000])
async def test_an_error_has_its_message_and_its_details(channel, size):
    error = await _failure(channel.unary_unary("/t.T/Refuse")(bytes(size)))
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert error.details() == "not ready: 100 % \u2603\n"
    details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    assert details == bytes(size)


async def test_a_defect_ends_its_call_alone(channel):
    error = await _failure(channel.unary_unary("/t.T/Break")(b""))
    assert (error.code(), error.details()) == (
        grpc.StatusCode.INTERNAL,
        "internal error, see the switch's log",
    )
    assert await channel.unary_unary("/t.T/Echo")(b"x") == b"x"


async def test_an_unknown_method_is_unimplemented(channel):
    error = await _failure(channel.unary_unary("/t.T/Nothing")(b""))
    assert (error.code(), error.details()) == (
        grpc.StatusCode.UNIMPLEMENTED,
        "method '/t.T/Nothing' is not here",
    )


async def test_compressed_requests_are_unimplemented(channel):
    call = channel.unary_unary("/t.T/Echo")(bytes(10_000), compression=grpc.Compression.Gzip)
    error = await _failure(call)
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "'gzip' is not supported (valid: identity)" in (error.details() or "")


async def test_a_request_that_is_too_long_is_refused_at_its_beginning(channel, monkeypatch):
    monkeypatch.setattr(rpc_call, "MAX_MESSAGE", 1000)
    error = await _failure(channel.unary_unary("/t.T/Echo")(bytes(3_000_000)))
    assert (error.code(), error.details()) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "message of 3000000 bytes is too long (valid: up to 1000)",
    )
    assert await channel.unary_unary("/t.T/Echo")(bytes(10)) == bytes(10)


async def test_a_stream_answers_as_it_is_asked_and_ends_when_the_client_has(channel, methods):
    stream = channel.stream_stream("/t.T/EchoAll")()
    for sent in (b"a", b"", bytes(3_000_000)):
        await stream.write(sent)
        assert await stream.read() == sent
    await stream.done_writing()
    assert await stream.read() is grpc.aio.EOF
    assert await stream.code() is grpc.StatusCode.OK
    assert methods.ended.is_set()


async def test_a_stream_that_fails_has_sent_what_came_before(channel):
    stream = channel.stream_stream("/t.T/RefuseLate")()
    await stream.write(b"a")
    assert await stream.read() == b"a"
    error = await _failure(stream.read())
    assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "no more")


async def test_a_cancelled_stream_is_closed(channel, methods):
    stream = channel.stream_stream("/t.T/EchoAll")()
    await stream.write(b"a")
    assert await stream.read() == b"a"
    stream.cancel()
    await asyncio.wait_for(methods.ended.wait(), 10)


async def test_stopping_ends_streams_and_closes_them(channel, methods):
    stream = channel.stream_stream("/t.T/EchoAll")()
    await stream.write(b"a")
    assert await stream.read() == b"a"
    await methods.server.stop()
    assert methods.ended.is_set()
    assert await stream.code() is grpc.StatusCode.UNAVAILABLE


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
async def test_any_mix_of_calls_gets_the_right_answers(channel, data):
    sizes = data.draw(st.lists(st.integers(0, 200_000), max_size=20))
    echo = channel.unary_unary("/t.T/Echo")
    answers = await asyncio.gather(*(echo(bytes(size), timeout=30) for size in sizes))
    assert [len(answer) for answer in answers] == sizes
