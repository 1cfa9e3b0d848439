# SPDX-License-Identifier: Apache-2.0
"""A ring buffer, filled by a program and read by us."""

from __future__ import annotations

import asyncio
import mmap
import select
from collections.abc import Iterator

import pytest
from hvchannel_softswitch.bpf import Map, MapKind, Program, RingBuffer, create_map, load_program

from .assembler import (
    DOUBLE,
    R0,
    R1,
    R2,
    R3,
    R4,
    R6,
    R7,
    R10,
    RINGBUF_DISCARD,
    RINGBUF_OUTPUT,
    RINGBUF_RESERVE,
    RINGBUF_SUBMIT,
    XDP_LOAD_BYTES,
    add_imm,
    assemble,
    call,
    jump_if_not_equal,
    leave,
    map_fd,
    move,
    move_imm,
    store_imm,
)

pytestmark = pytest.mark.root


def output(ring: Map, size: int) -> Program:
    """Copies the frame's first `size` bytes into the ring; returns 1 when there is no room for them."""
    code = assemble(
        move(R6, R1),
        map_fd(R1, ring.fd),
        move_imm(R2, size),
        move_imm(R3, 0),
        call(RINGBUF_RESERVE),
        jump_if_not_equal(R0, 0, "got"),
        leave(1),
        "got",
        move(R7, R0),
        move(R1, R6),
        move_imm(R2, 0),
        move(R3, R7),
        move_imm(R4, size),
        call(XDP_LOAD_BYTES),
        move(R1, R7),
        move_imm(R2, 0),
        call(RINGBUF_SUBMIT),
        leave(0),
    )
    return load_program(code, name="t_output")


@pytest.fixture
def ring() -> Iterator[Map]:
    with create_map(MapKind.RINGBUF, 0, 0, mmap.PAGESIZE, name="t_ring") as created:
        yield created


@pytest.fixture
def reader(ring: Map) -> Iterator[RingBuffer]:
    buffer = RingBuffer(ring)
    yield buffer
    buffer.close()


def frame(number: int) -> bytes:
    return number.to_bytes(4, "big") + bytes(range(10)) + bytes(46)


def readable(ring: RingBuffer) -> bool:
    return bool(select.select([ring], [], [], 0)[0])


def test_records_come_in_order_many_times_around_the_ring(ring: Map, reader: RingBuffer) -> None:
    with output(ring, 21) as program:  # 8 + 21 padded to 32: 128 fill the page
        assert reader.read(10) == []
        assert not readable(reader)
        for start in range(0, 1000, 100):
            for number in range(start, start + 100):
                assert program.test_run(frame(number)).result == 0
            assert readable(reader)
            records = reader.read(1000)
            assert records == [frame(number)[:21] for number in range(start, start + 100)]
            assert not readable(reader)


def test_a_record_across_the_end_is_whole(ring: Map, reader: RingBuffer) -> None:
    with output(ring, 60) as program:  # 72 does not divide a page
        for number in range(200):
            assert program.test_run(frame(number)).result == 0
            assert reader.read(1) == [frame(number)[:60]]


def test_a_limit_leaves_the_rest(ring: Map, reader: RingBuffer) -> None:
    with output(ring, 16) as program:
        for number in range(5):
            program.test_run(frame(number))
        assert reader.read(2) == [frame(0)[:16], frame(1)[:16]]
        assert readable(reader)
        assert reader.read(0) == []
        assert reader.read(10) == [frame(number)[:16] for number in (2, 3, 4)]


def test_what_finds_no_room_is_the_programs_to_count(ring: Map, reader: RingBuffer) -> None:
    with output(ring, 56) as program:  # 64 each: 64 records fill the page, but the kernel keeps one byte free
        results = [program.test_run(frame(number)).result for number in range(70)]
        accepted = results.count(0)
        assert 60 <= accepted < 70
        assert not any(results[:accepted])
        assert all(results[accepted:])
        assert reader.read(100) == [frame(number)[:56] for number in range(accepted)]
        assert program.test_run(frame(1000)).result == 0
        assert reader.read(100) == [frame(1000)[:56]]


def test_a_discarded_record_is_skipped(ring: Map, reader: RingBuffer) -> None:
    code = assemble(
        map_fd(R1, ring.fd),
        move_imm(R2, 8),
        move_imm(R3, 0),
        call(RINGBUF_RESERVE),
        jump_if_not_equal(R0, 0, "got"),
        leave(1),
        "got",
        store_imm(DOUBLE, R0, 0, 7),
        move(R1, R0),
        move_imm(R2, 0),
        call(RINGBUF_DISCARD),
        store_imm(DOUBLE, R10, -8, 5),
        map_fd(R1, ring.fd),
        move(R2, R10),
        add_imm(R2, -8),
        move_imm(R3, 8),
        move_imm(R4, 0),
        call(RINGBUF_OUTPUT),
        leave(0),
    )
    with load_program(code, name="t_discard") as program:
        for _ in range(300):
            assert program.test_run(frame(0)).result == 0
            assert reader.read(10) == [(5).to_bytes(8, "little")]


async def test_asyncio_is_woken(ring: Map, reader: RingBuffer) -> None:
    loop = asyncio.get_running_loop()
    came: asyncio.Future[list[bytes]] = loop.create_future()
    loop.add_reader(reader.fileno(), lambda: came.done() or came.set_result(reader.read(10)))
    try:
        with output(ring, 14) as program:
            program.test_run(frame(3))
            assert await asyncio.wait_for(came, 10) == [frame(3)[:14]]
    finally:
        loop.remove_reader(reader.fileno())


def test_a_map_of_another_kind_is_refused() -> None:
    with (
        create_map(MapKind.ARRAY, 4, 4, 1, name="t_array") as table,
        pytest.raises(ValueError, match="t_array"),
    ):
        RingBuffer(table)


def test_a_second_reader_goes_on_where_the_first_stopped(ring: Map, reader: RingBuffer) -> None:
    with output(ring, 14) as program:
        for number in range(4):
            program.test_run(frame(number))
        assert len(reader.read(3)) == 3
        second = RingBuffer(ring)
        assert second.read(10) == [frame(3)[:14]]
        second.close()
