# SPDX-License-Identifier: Apache-2.0
"""A flood of calls leaves the loop's other sockets their share."""

from __future__ import annotations

import asyncio
import socket
from itertools import pairwise

from hvchannel_softswitch.rpc.turns import TURN_SECONDS, Turns
from hyperframe.frame import DataFrame, SettingsFrame

_CALLS = 100


class _Clock:
    """Stands still but for the calls, each of which takes `step`."""

    def __init__(self) -> None:
        self.now = 1.0
        self.step = TURN_SECONDS

    def __call__(self) -> float:
        return self.now


def _request(stream: int) -> DataFrame:
    return DataFrame(stream, b"\0\0\0\0\1x", flags=["END_STREAM"])


async def _flood(connect, methods, calls: int, step: float) -> list[str]:
    """What happened, in its order: "call" for each of the calls of two clients that send them all at once, "frame" each
    time that the loop looked at a socket that always has something to read."""
    happened: list[str] = []
    methods.clock = clock = _Clock()

    def call() -> None:
        happened.append("call")
        clock.now += step

    methods.on_echo = call
    port, peer = socket.socketpair()
    peer.send(b"frame")
    asyncio.get_running_loop().add_reader(port, happened.append, "frame")
    try:
        clients = [await connect(), await connect()]
        for client in clients:
            flood = [(client.headers(stream), _request(stream)) for stream in range(1, 2 * calls, 2)]
            frames = [frame.serialize() for pair in flood for frame in pair]
            client.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", SettingsFrame(0), b"".join(frames))
        for client in clients:
            for stream in range(1, 2 * calls, 2):
                await client.response(stream)
    finally:
        asyncio.get_running_loop().remove_reader(port)
        port.close()
        peer.close()
    return happened


async def test_long_calls_take_turns_with_other_sockets(connect, methods):
    happened = await _flood(connect, methods, _CALLS, TURN_SECONDS)
    assert happened.count("call") == 2 * _CALLS
    in_a_row = sum(pair == ("call", "call") for pair in pairwise(happened))
    assert in_a_row <= 2, "but for the first turns of two clients, who come in one look at all sockets"


async def test_short_calls_fill_a_turn(connect, methods):
    happened = await _flood(connect, methods, _CALLS, TURN_SECONDS / 10)
    longest = max(len(run) for run in "".join(word[0] for word in happened).split("f"))
    assert 10 <= longest <= 20


async def test_work_is_done_in_its_order_and_to_its_end():
    clock = _Clock()
    turns = Turns(asyncio.get_running_loop(), clock)
    done: list[str] = []
    ended = asyncio.Event()

    def worker(name: str, pieces: int):
        def work() -> bool:
            nonlocal pieces
            while pieces:
                done.append(name)
                pieces -= 1
                clock.now += TURN_SECONDS / 2
                if turns.is_over:
                    break
            if name == "c" and not pieces:
                ended.set()
            return bool(pieces)

        return work

    assert not turns.run(worker("a", 5))
    assert not turns.run(worker("b", 3))
    assert not turns.run(worker("c", 4))
    await asyncio.wait_for(ended.wait(), 10)
    assert "".join(done) == "aaaabbccabcc"


async def test_a_defect_of_one_leaves_the_others_their_turn():
    turns = Turns(asyncio.get_running_loop(), clock := _Clock())
    ended = asyncio.Event()

    def first() -> bool:
        clock.now += TURN_SECONDS
        return False

    def broken() -> bool:
        raise ZeroDivisionError

    def last() -> bool:
        ended.set()
        return False

    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    assert turns.run(first)
    assert not turns.run(broken)
    assert not turns.run(last)
    await asyncio.wait_for(ended.wait(), 10)
