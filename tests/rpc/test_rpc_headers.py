# SPDX-License-Identifier: Apache-2.0
"""Headers that are recognised by their bytes mean what hpack says they do."""

from __future__ import annotations

import pytest
from hpack import Decoder, Encoder, NeverIndexedHeaderTuple
from hvchannel_softswitch.rpc.headers import Head, HeadReader, ending
from hvchannel_softswitch.rpc.status import ConnectionFault, ErrorCode, Status
from hypothesis import given
from hypothesis import strategies as st

_NAMES = st.sampled_from([":method", ":path", "content-type", "grpc-encoding", "grpc-timeout", "x", "y"])
_VALUES = st.sampled_from(["POST", "/a", "/b", "application/grpc", "gzip", "5S", ""]) | st.text(max_size=4)
_HEADERS = st.lists(st.tuples(_NAMES, _VALUES), max_size=8, unique_by=lambda header: header[0])


def _head(headers: list[tuple[str, str]]) -> Head:
    found = dict(headers)
    timeout = {"5S": 5.0}.get(found.get("grpc-timeout", ""))
    return Head(
        method=found.get(":method", "").encode(),
        path=found.get(":path", "").encode().decode("latin-1"),
        content_type=found.get("content-type", "").encode(),
        encoding=found.get("grpc-encoding", "identity").encode(),
        timeout=timeout,
    )


@given(st.lists(_HEADERS, min_size=1, max_size=6), st.lists(st.tuples(st.integers(0, 5), st.booleans())))
def test_any_sequence_of_headers_is_read_as_it_was_written(kinds, sequence):
    encoder, reader = Encoder(), HeadReader(lambda head: head)
    for number, is_secret in sequence:
        headers = kinds[number % len(kinds)]
        written = [NeverIndexedHeaderTuple(*header) for header in headers] if is_secret else headers
        assert reader.read(encoder.encode(written)) == _head(headers)


def test_what_was_made_of_headers_is_given_again_while_their_bytes_stay_the_same():
    encoder, made = Encoder(), []
    reader = HeadReader(lambda head: made.append(head) or len(made))
    headers = [(":method", "POST"), (":path", "/a")]
    assert [reader.read(encoder.encode(headers)) for _ in range(4)] == [1, 2, 2, 2]
    assert reader.read(encoder.encode([*headers, ("new", "x")])) == 3
    assert [reader.read(encoder.encode(headers)) for _ in range(2)] == [4, 4]


def test_a_table_that_shrinks_is_no_longer_referred_to():
    encoder, reader = Encoder(), HeadReader(lambda head: head)
    reader.read(encoder.encode([("x", "y")]))
    block = encoder.encode([("x", "y")])
    reader.read(block)
    encoder.header_table_size = 0
    reader.read(encoder.encode([]))
    with pytest.raises(ConnectionFault) as caught:
        reader.read(block)
    assert caught.value.code is ErrorCode.COMPRESSION_ERROR


def test_too_many_headers_are_refused():
    encoder, reader = Encoder(), HeadReader(lambda head: head)
    with pytest.raises(ConnectionFault) as caught:
        reader.read(encoder.encode([("x", "y" * 70_000)]))
    assert caught.value.code is ErrorCode.ENHANCE_YOUR_CALM


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1H", 3600),
        ("2M", 120),
        ("3S", 3),
        ("4m", 0.004),
        ("5u", 5e-6),
        ("6n", 6e-9),
        ("123456789S", None),
        ("S", None),
    ],
)
def test_timeouts_have_units(text, seconds):
    head = HeadReader(lambda head: head).read(Encoder().encode([("grpc-timeout", text)]))
    assert head.timeout == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("method", "kind", "is_grpc"),
    [
        ("POST", "application/grpc", True),
        ("POST", "application/grpc+proto", True),
        ("POST", "application/grpc;charset=x", True),
        ("POST", "application/grpc-web", False),
        ("GET", "application/grpc", False),
    ],
)
def test_what_counts_as_grpc(method, kind, is_grpc):
    headers = [(":method", method), ("content-type", kind)]
    assert HeadReader(lambda head: head).read(Encoder().encode(headers)).is_grpc == is_grpc


def test_endings_do_not_depend_on_what_was_sent_before():
    decoder = Decoder()
    for _ in range(2):
        block = ending(Status(5, "50 % of 1\u20ac\n", b"\0\xff"), is_started=True)
        assert dict(decoder.decode(block)) == {
            "grpc-status": "5",
            "grpc-message": "50 %25 of 1%E2%82%AC%0A",
            "grpc-status-details-bin": "AP8",
        }
    assert len(decoder.header_table.dynamic_entries) == 0
