# SPDX-License-Identifier: Apache-2.0
"""The engine on programs/shapes.p4: parser, header stacks, a union, checksums, signed numbers, metadata."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
from hvchannel_softswitch.interpreter.hashes import csum16
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from conftest import Bench

NO_ERROR, BAD_VERSION, TOO_SHORT, STACK_FULL = 0, 1, 2, 3


def frame(
    operation: int = 0,
    labels: bytes = b"",
    *,
    kind: int = 0,
    level: int = 0,
    rest: bytes = b"",
    version: int = 4,
) -> bytes:
    start = struct.pack(">BBbB", version << 4 | len(labels) // 2, operation, level, kind)
    return start + struct.pack(">H", csum16(start)) + labels + rest


def label(value: int, hops: int = 1, last: bool = False) -> bytes:
    return bytes([value << 1 | last, hops])


def split(bench: Bench, data: bytes, header: int) -> tuple[bytes, tuple[int, ...], bytes]:
    """What came out: `header` bytes, the trailer's fields (size, parser error, checksum error, next byte),
    the rest."""
    [(port, out)] = bench.run(9, data)
    assert port == 1
    return out[:header], struct.unpack(">HHBB", out[header : header + 6]), out[header + 6 :]


def test_nothing_changes_but_the_trailer(shapes: Bench) -> None:
    data = frame()
    assert split(shapes, data + b"rest", 6) == (data, (10, NO_ERROR, 0, 0), b"rest")


def test_a_wrong_checksum_is_told_and_put_right(shapes: Bench) -> None:
    data = frame()
    broken = data[:4] + b"\x12\x34"
    assert split(shapes, broken, 6) == (data, (6, NO_ERROR, 1, 0), b"")


def test_verify_stops_the_parser_and_ingress_goes_on(shapes: Bench) -> None:
    data = frame(version=6, labels=label(1, last=True))
    assert split(shapes, data, 6) == (data[:6], (8, BAD_VERSION, 0, 0), data[6:])


@pytest.mark.parametrize("length", range(6))
def test_too_short_for_the_first_header(shapes: Bench, length: int) -> None:
    assert split(shapes, frame()[:length], 0) == (b"", (length, TOO_SHORT, 0, 0), frame()[:length])


def test_labels_are_parsed_in_a_loop(shapes: Bench) -> None:
    labels = label(1) + label(2) + label(3, last=True)
    data = frame(labels=labels)
    assert split(shapes, data, 12) == (data, (12, NO_ERROR, 0, 0), b"")


def test_a_full_stack_is_an_error(shapes: Bench) -> None:
    data = frame(labels=label(1) + label(2) + label(3) + label(4, last=True))
    assert split(shapes, data, 12)[1][1] == STACK_FULL


def test_push_front(shapes: Bench) -> None:
    out, trailer, rest = split(shapes, frame(1, label(1) + label(2, last=True), rest=b"xy"), 12)
    assert out[6:] == b"\xaa\x00" + label(1) + label(2, last=True)
    assert out[0] == 0x43
    assert csum16(out[:4]) == int.from_bytes(out[4:6])
    assert rest == b"xy"
    assert trailer[0] == 14, "packet_length in egress: 12 bytes arrived, a header of 2 was added"


def test_push_front_drops_the_last_of_a_full_stack(shapes: Bench) -> None:
    out, _, _ = split(shapes, frame(1, label(1) + label(2) + label(3, last=True)), 12)
    assert out[6:] == b"\xaa\x00" + label(1) + label(2)


def test_pop_front(shapes: Bench) -> None:
    out, _, rest = split(shapes, frame(2, label(1) + label(2, last=True), rest=b"xy"), 8)
    assert (out[6:], rest) == (label(2, last=True), b"xy")


def test_saturating_signed_subtraction(shapes: Bench) -> None:
    assert split(shapes, frame(3, level=20), 6)[0][2:3] == struct.pack("b", -80)
    assert split(shapes, frame(3, level=-100), 6)[0][2:3] == struct.pack("b", -128)


def test_negation_and_comparison_of_signed_numbers(shapes: Bench) -> None:
    assert split(shapes, frame(4, level=-5), 6)[0][2] == 5
    assert split(shapes, frame(4, level=-128), 6)[0][2:3] == struct.pack("b", -128)
    assert split(shapes, frame(8, level=-1), 6)[0][3] == 0xFF
    assert split(shapes, frame(8, level=1), 6)[0][3] == 0


def test_one_member_of_a_union_at_a_time(shapes: Bench) -> None:
    out, _, _ = split(shapes, frame(0, kind=2, rest=b"\x01\x02\x03\x04"), 10)
    assert out[6:] == b"\x01\x02\x03\x04"
    out, _, _ = split(shapes, frame(5, kind=2, rest=b"\x01\x02\x03\x04"), 7)
    assert out[6:] == b"\x07", "making `small` valid makes `large` invalid"


def test_lookahead_then_advance(shapes: Bench) -> None:
    data = frame(kind=0x80, rest=b"Zrest")
    assert split(shapes, data, 6) == (data[:6], (11, NO_ERROR, 0, ord("Z")), b"rest")
    assert split(shapes, frame(kind=0x80), 6)[1][1] == TOO_SHORT


def test_computed_index(shapes: Bench) -> None:
    labels = label(1) + label(2, last=True)
    assert split(shapes, frame(6, label(1, last=True) + b"\x00" * 2), 8)[0][6:] == label(1, last=True)
    assert split(shapes, frame(6, labels[2:]), 8)[0][6:] == label(2, last=True), (
        "index 1: invalid, nothing shows"
    )


def test_copy_of_an_invalid_header_makes_invalid(shapes: Bench) -> None:
    out, _, rest = split(shapes, frame(7, label(1, last=True), rest=b"xy"), 6)
    assert (len(out), rest) == (6, b"xy")


def test_drops(shapes: Bench) -> None:
    assert shapes.run(1, frame(9)) == []
    assert shapes.run(1, frame(11)) == []


def test_truncate(shapes: Bench) -> None:
    assert shapes.run(1, frame(10, rest=b"much more")) == [(1, frame(10)[:4])]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
@given(
    port=st.integers(-1, 2**40),
    data=st.binary(max_size=80) | st.integers(0, 9000).map(lambda n: (frame(2, label(1)) * n)[:n]),
)
def test_no_frame_is_more_than_the_engine_can_take(shapes: Bench, port: int, data: bytes) -> None:
    shapes.run(port, data)
