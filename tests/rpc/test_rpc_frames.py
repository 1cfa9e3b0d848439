# SPDX-License-Identifier: Apache-2.0
"""HTTP/2's rules (RFC 9113), with frames that no library would send, or not in this order."""

from __future__ import annotations

import asyncio

import pytest
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR, COMPRESSION_ERROR, CALM = (
    1,
    3,
    5,
    6,
    9,
    11,
)
INITIAL_WINDOW = SettingsFrame.INITIAL_WINDOW_SIZE
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DEADLINE = 10.0


def message(data: bytes) -> bytes:
    """As gRPC sends it."""
    return b"\0" + len(data).to_bytes(4, "big") + data


def request(stream: int, data: bytes) -> DataFrame:
    """A whole request's data."""
    return DataFrame(stream, message(data), flags=["END_STREAM"])


async def _is_answered(raw, stream: int, data: bytes = b"") -> None:
    headers, answer = await raw.response(stream)
    assert (headers[":status"], headers["content-type"]) == ("200", "application/grpc")
    assert (headers["grpc-status"], answer) == ("0", message(data))


async def test_settings_and_pings_are_acknowledged(raw):
    assert "ACK" not in (await raw.frame(SettingsFrame)).flags
    assert "ACK" in (await raw.frame(SettingsFrame)).flags
    raw.write(PingFrame(0, b"12345678"))
    answer = await raw.frame(PingFrame)
    assert (answer.opaque_data, set(answer.flags)) == (b"12345678", {"ACK"})


async def test_padding_priority_and_unknown_frames_say_nothing(raw):
    headers = raw.headers(1)
    headers.flags.add("PADDED")
    headers.flags.add("PRIORITY")
    headers.pad_length, headers.stream_weight = 7, 3
    data = DataFrame(1, message(b"abc"), flags=["PADDED", "END_STREAM"], pad_length=9)
    raw.write(headers, PriorityFrame(1), b"\0\0\1\xbe\0\0\0\0\1?", data)
    await _is_answered(raw, 1, b"abc")


async def test_headers_in_pieces(raw):
    whole = raw.headers(1).data
    raw.write(HeadersFrame(1, whole[:5]), ContinuationFrame(1, whole[5:9]))
    raw.write(ContinuationFrame(1, whole[9:], flags=["END_HEADERS"]), request(1, b"x"))
    await _is_answered(raw, 1, b"x")


async def test_a_request_may_end_with_trailers(raw):
    raw.write(raw.headers(1), DataFrame(1, message(b"x")))
    raw.write(HeadersFrame(1, raw.encoder.encode([("a", "b")]), flags=["END_HEADERS", "END_STREAM"]))
    await _is_answered(raw, 1, b"x")


async def test_the_same_headers_again_mean_the_same_until_the_table_changes(raw):
    for stream in (1, 3, 5):
        raw.write(raw.headers(stream), request(stream, b"x"))
        await _is_answered(raw, stream, b"x")
    raw.write(raw.headers(7, "/t.T/Echo", ("new", "one")), request(7, b"x"))
    await _is_answered(raw, 7, b"x")
    raw.write(raw.headers(9, "/t.T/Refuse"), request(9, b"x"))
    headers, _ = await raw.response(9)
    assert headers["grpc-status"] == "9"
    raw.write(raw.headers(11), request(11, b"x"))
    await _is_answered(raw, 11, b"x")


@pytest.mark.parametrize(
    ("data", "message_"),
    [
        (b"", "the request ends before its message does"),
        (message(b"abc")[:-1], "the request ends before its message does"),
        (message(b"a") + message(b"b"), "more than one request message for a unary method"),
        (b"\1\0\0\0\0", "messages must not be compressed (valid grpc-encoding: identity)"),
    ],
)
async def test_a_request_that_is_not_one_message_is_refused(raw, data, message_):
    raw.write(raw.headers(1), DataFrame(1, data, flags=["END_STREAM"]))
    headers, answer = await raw.response(1)
    assert (headers["grpc-message"], answer) == (message_, b"")


async def test_what_is_no_grpc_is_told_so(raw):
    block = raw.encoder.encode([(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "x")])
    raw.write(HeadersFrame(1, block, flags=["END_HEADERS", "END_STREAM"]))
    headers, _ = await raw.response(1)
    assert headers == {":status": "415"}


async def test_an_answer_goes_as_far_as_the_windows_let_it(raw):
    raw.write(raw.headers(1, "/t.T/Count"), request(1, b"20"))
    received = 0
    while received < 65_535:
        received += len((await raw.frame(DataFrame)).data)
    assert received == 65_535, "the windows that every connection and every stream begin with"
    raw.write(WindowUpdateFrame(1, 30), PingFrame(0, b"12345678"))
    assert isinstance(await raw.next(), PingFrame), "the connection's window is still shut"
    raw.write(WindowUpdateFrame(0, 10))
    assert len((await raw.next()).data) == 10
    raw.write(WindowUpdateFrame(0, 1_000_000))
    assert len((await raw.next()).data) == 20, "now the stream's is"
    raw.write(SettingsFrame(0, {INITIAL_WINDOW: 1_000_000}))
    headers, rest = await raw.response(1)
    assert headers["grpc-status"] == "0"
    assert received + 30 + len(rest) == 20 * (5 + 10_000)


async def test_a_slow_client_keeps_the_method_waiting(raw, methods):
    raw.write(raw.headers(1, "/t.T/Count"), request(1, b"20"))
    received = 0
    while received < 65_535:
        received += len((await raw.frame(DataFrame)).data)
    raw.write(PingFrame(0, b"12345678"))
    await raw.frame(PingFrame)
    assert methods.sent == 7
    raw.write(RstStreamFrame(1, 8))
    await asyncio.wait_for(methods.ended.wait(), DEADLINE)


async def test_a_window_may_shrink_below_nothing(raw):
    raw.write(SettingsFrame(0, {INITIAL_WINDOW: 100}), raw.headers(1, "/t.T/Count"), request(1, b"1"))
    assert len((await raw.frame(DataFrame)).data) == 100
    raw.write(SettingsFrame(0, {INITIAL_WINDOW: 0}), WindowUpdateFrame(1, 100), PingFrame(0, b"12345678"))
    assert "ACK" in (await raw.frame(SettingsFrame)).flags
    assert isinstance(await raw.next(), PingFrame), "100 less and 100 more is nothing"
    raw.write(WindowUpdateFrame(1, 7))
    assert len((await raw.next()).data) == 7


async def test_long_requests_get_more_window(raw):
    size = 3_000_000
    raw.write(raw.headers(1))
    data, window = message(bytes(size)), 1 << 20
    connection = 16 << 20
    while data:
        piece = min(len(data), 100_000, window)
        if not piece:
            update = await raw.frame(WindowUpdateFrame)
            window += update.window_increment if update.stream_id else 0
            continue
        window, connection = window - piece, connection - piece
        last = piece == len(data)
        raw.write(DataFrame(1, data[:piece], flags=["END_STREAM"] if last else []))
        data = data[piece:]
    raw.write(WindowUpdateFrame(0, size), WindowUpdateFrame(1, size))
    await _is_answered(raw, 1, bytes(size))


async def test_frames_of_a_call_that_is_over_are_passed_over(raw):
    raw.write(raw.headers(1, "/t.T/RefuseLate"), DataFrame(1, message(b"x")))
    headers, _ = await raw.response(1)
    assert headers["grpc-status"] == "5"
    assert (await raw.frame(RstStreamFrame)).error_code == 0, "the client need not send the rest"
    raw.write(DataFrame(1, message(b"y")), WindowUpdateFrame(1, 5), RstStreamFrame(1, 8))
    raw.write(raw.headers(3), request(3, b"z"))
    await _is_answered(raw, 3, b"z")


async def test_a_deadline_ends_a_stream(raw, methods):
    raw.write(raw.headers(1, "/t.T/EchoAll", ("grpc-timeout", "20m")))
    headers, _ = await raw.response(1)
    assert headers["grpc-status"] == "4"
    await asyncio.wait_for(methods.ended.wait(), DEADLINE)


async def test_calls_beyond_the_limit_are_refused_alone(raw):
    limit = (await raw.frame(SettingsFrame)).settings[SettingsFrame.MAX_CONCURRENT_STREAMS]
    streams = [1 + 2 * number for number in range(limit + 1)]
    for stream in streams:
        raw.write(raw.headers(stream))
    refused = await raw.frame(RstStreamFrame)
    assert (refused.stream_id, refused.error_code) == (streams[-1], 7)
    raw.write(request(1, b"x"))
    await _is_answered(raw, 1, b"x")


def _bad(name: str, code: int, *frames: object):
    return pytest.param(frames, code, id=name)


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        _bad("a stream of ours", PROTOCOL_ERROR, lambda raw: raw.headers(2)),
        _bad("data of no stream", PROTOCOL_ERROR, DataFrame(1, b"x")),
        _bad("data of the connection", PROTOCOL_ERROR, b"\0\0\0\0\0\0\0\0\0"),
        _bad("reset of no stream", PROTOCOL_ERROR, RstStreamFrame(5, 8)),
        _bad("window of no stream", PROTOCOL_ERROR, WindowUpdateFrame(5, 8)),
        _bad("window by nothing", PROTOCOL_ERROR, b"\0\0\4\x08\0\0\0\0\0\0\0\0\0"),
        _bad("window too large", FLOW_CONTROL_ERROR, WindowUpdateFrame(0, 2**31 - 1)),
        _bad("short window update", FRAME_SIZE_ERROR, b"\0\0\3\x08\0\0\0\0\0\0\0\1"),
        _bad("short ping", FRAME_SIZE_ERROR, b"\0\0\3\x06\0\0\0\0\0abc"),
        _bad("long frame", FRAME_SIZE_ERROR, b"\xff\xff\xff\0\0\0\0\0\1"),
        _bad("push", PROTOCOL_ERROR, PushPromiseFrame(1, 2, b"")),
        _bad("frame size", PROTOCOL_ERROR, SettingsFrame(0, {SettingsFrame.MAX_FRAME_SIZE: 100})),
        _bad("headers, unreadable", COMPRESSION_ERROR, HeadersFrame(1, b"\x80", flags=["END_HEADERS"])),
        _bad("headers, interrupted", PROTOCOL_ERROR, HeadersFrame(1, b"\x82"), PingFrame(0, b"12345678")),
        _bad("continuation of nothing", PROTOCOL_ERROR, ContinuationFrame(1, b"\x82")),
        _bad("headers of nothing", CALM, HeadersFrame(1, b"\x82"), ContinuationFrame(1, b"")),
        _bad("headers twice", PROTOCOL_ERROR, lambda raw: raw.headers(1), lambda raw: raw.headers(1)),
        _bad(
            "data after the end",
            STREAM_CLOSED,
            lambda raw: raw.headers(1, "/t.T/Count"),
            request(1, b"20"),
            DataFrame(1, b"x"),
        ),
        _bad(
            # Of a method that waits for the client to take its answers, and so takes no more requests.
            "data beyond the window",
            FLOW_CONTROL_ERROR,
            lambda raw: raw.headers(1, "/t.T/Count"),
            DataFrame(1, message(b"20") + 100 * message(b"1")),
            *[DataFrame(1, message(bytes(200_000))) for _ in range(6)],
        ),
    ],
)
async def test_a_client_that_breaks_the_rules_is_told_and_left(raw, connect, frames, code):
    for frame in frames:
        raw.write(frame(raw) if callable(frame) else frame)
    assert (await raw.frame(GoAwayFrame)).error_code == code
    assert await raw.is_closed()
    other = await connect()
    other.write(PREFACE, SettingsFrame(0), other.headers(1), request(1, b"x"))
    await _is_answered(other, 1, b"x")


async def test_what_is_not_http2_is_left_at_once(connect):
    client = await connect()
    client.write(b"GET / HTTP/1.1\r\n")
    assert (await client.frame(GoAwayFrame)).error_code == PROTOCOL_ERROR
    assert await client.is_closed()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 400), min_size=1), st.lists(st.binary(max_size=300), min_size=1, max_size=5))
async def test_bytes_may_come_in_any_pieces(connect, cuts, requests):
    client = await connect()
    frames = [SettingsFrame(0)]
    for number, data in enumerate(requests):
        frames += [client.headers(2 * number + 1), WindowUpdateFrame(2 * number + 1, 5)]
        frames += [request(2 * number + 1, data), WindowUpdateFrame(0, 5)]
    everything = PREFACE + b"".join(frame.serialize() for frame in frames)
    place = number = 0
    while place < len(everything):
        size = cuts[number % len(cuts)]
        client.write(everything[place : place + size])
        await asyncio.sleep(0)
        place, number = place + size, number + 1
    for number, data in enumerate(requests):
        await _is_answered(client, 2 * number + 1, data)
    client.close()


_frame_kinds = st.sampled_from([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
_bodies = st.binary(max_size=40) | st.sampled_from([b"\x82\x86", message(b"x"), bytes(4), bytes(8)])
_any_frame = st.builds(
    lambda kind, flags, stream, body: (
        len(body).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + body
    ),
    _frame_kinds,
    st.integers(0, 255),
    st.integers(0, 9),
    _bodies,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_any_frame, max_size=10))
async def test_no_frames_harm_anybody_else(connect, frames):
    one, other = await connect(), await connect()
    one.write(PREFACE, *frames)
    other.write(PREFACE, SettingsFrame(0), other.headers(1), request(1, b"x"))
    await _is_answered(other, 1, b"x")
    one.close()
    other.close()
