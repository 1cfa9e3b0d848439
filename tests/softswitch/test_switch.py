# SPDX-License-Identifier: Apache-2.0
"""The switch on its loop, with ports made of socket pairs."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from hvchannel_softswitch.engine import ActionCall
from hvchannel_softswitch.model import Program, load
from hvchannel_softswitch.ports import PortDown, PortStatistics
from hvchannel_softswitch.switch import BATCH, FEW, Switch
from hvchannel_softswitch.trace import Tracer

ASK = bytes.fromhex("02 00000001 0050 06 0000")
REPORT = bytes.fromhex("05 00000001 0050 06 0000")
TERNARY = "LookupIngress.ternary_t"


class PairPort:
    """A port whose far end is `far`; `present` says whether its interface is there."""

    def __init__(self, number: int) -> None:
        self.number, self.name = number, f"pair{number}"
        self.statistics = PortStatistics()
        self.present = True
        self.is_open = False

    def open(self) -> None:
        if not self.present:
            raise PortDown("not plugged in")
        self.far, self._near = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.far.setblocking(False)
        self._near.setblocking(False)
        self.is_open = True

    def close(self) -> None:
        self._near.close()
        self.far.close()
        self.is_open = False

    def is_there(self) -> bool:
        return self.present

    def fileno(self) -> int:
        return self._near.fileno()

    def receive(self, limit: int) -> list[bytes]:
        if not self.present:
            raise PortDown("unplugged")
        frames = []
        try:
            while len(frames) < limit:
                frames.append(self._near.recv(9999))
        except BlockingIOError:
            pass
        self.statistics.rx_frames += len(frames)
        return frames

    def send(self, frame: bytes) -> None:
        if self.is_open:
            self._near.send(frame)
            self.statistics.tx_frames += 1
        else:
            self.statistics.tx_dropped += 1


@pytest.fixture
def program(program_json: Callable[[str], dict[str, Any]]) -> Program:
    return load(program_json("lookup"))


@pytest.fixture
async def switch(program: Program) -> AsyncIterator[Switch]:
    switch = Switch([PairPort(1), PairPort(2)], cpu_port=510)
    engine = switch.load(program)
    engine.set_default_action(TERNARY, ActionCall("LookupIngress.answer", (7,)))
    switch.commit(engine)
    switch.start()
    yield switch
    switch.stop()


def pair(switch: Switch, number: int) -> PairPort:
    port = switch.ports[number]
    assert isinstance(port, PairPort)
    return port


async def receive(far: socket.socket) -> bytes:
    return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(far, 9999), 5)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


async def test_frames_go_through_the_engine(switch: Switch) -> None:
    far = pair(switch, 2).far
    far.send(ASK)
    assert (await receive(far))[8:10] == b"\x00\x07"


async def test_before_the_first_commit_frames_are_dropped_and_counted() -> None:
    switch = Switch([PairPort(1)])
    switch.start()
    pair(switch, 1).far.send(ASK)
    await until(lambda: pair(switch, 1).statistics.rx_dropped == 1)
    switch.stop()


async def test_a_loaded_engine_runs_only_when_committed(switch: Switch, program: Program) -> None:
    other = switch.load(program)
    other.set_default_action(TERNARY, ActionCall("LookupIngress.answer", (8,)))
    far = pair(switch, 1).far
    far.send(ASK)
    assert (await receive(far))[9] == 7
    switch.commit(other)
    assert switch.engine is other
    far.send(ASK)
    assert (await receive(far))[9] == 8


async def test_the_cpu_port(switch: Switch) -> None:
    frames: list[bytes] = []
    switch.on_cpu_frame = frames.append
    switch.inject(510, ASK)
    assert [frame[9] for frame in frames] == [7], "the program sends back to where it came from"


async def test_digests_are_handed_on(switch: Switch) -> None:
    digests: list[tuple[str, tuple[int, ...]]] = []
    switch.on_digest = lambda name, values: digests.append((name, values))
    switch.inject(2, REPORT)
    assert digests == [("found_t", (1, 2))]


async def test_frames_to_ports_that_are_not_there_are_counted(switch: Switch) -> None:
    switch.inject(77, ASK)
    assert switch.unknown_port_drops == 1


async def test_a_port_that_vanishes_is_served_again_when_it_is_back(switch: Switch) -> None:
    port = pair(switch, 1)
    port.present = False
    port.far.send(ASK)
    await until(lambda: not port.is_open)
    switch.inject(1, ASK)
    assert port.statistics.tx_dropped == 1
    other = pair(switch, 2).far
    other.send(ASK)
    assert (await receive(other))[9] == 7, "the other port goes on"
    port.present = True
    await until(lambda: port.is_open)
    port.far.send(ASK)
    assert (await receive(port.far))[9] == 7


async def test_a_flood_does_not_keep_the_loop_from_others(switch: Switch) -> None:
    port = pair(switch, 1)
    turns = 0

    def count_turns() -> None:
        nonlocal turns
        turns += 1
        if port.statistics.rx_frames < 100:
            asyncio.get_running_loop().call_soon(count_turns)

    for _ in range(100):
        port.far.send(ASK)
    count_turns()
    await until(lambda: port.statistics.rx_frames == 100)
    assert turns >= 3, "batches are bounded"


async def test_a_trace_goes_on_across_commits(switch: Switch, program: Program, tmp_path: Any) -> None:
    path = tmp_path / "trace.txt"
    switch.set_tracer(Tracer(path, as_json=False))
    switch.inject(1, ASK)
    switch.commit(switch.load(program))
    switch.inject(1, ASK)
    assert "packet 2 " in path.read_text()
    switch.set_tracer(None)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([1, 1], "port 1 is given twice: pair1 and pair1"),
        ([510], "510 of pair510 is the CPU port"),
        ([511], "drop port"),
    ],
)
def test_port_numbers_that_clash_are_refused(numbers: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Switch([PairPort(number) for number in numbers], cpu_port=510)


async def test_a_port_that_is_flooded_gets_small_turns_until_it_has_been_empty(switch: Switch) -> None:
    """A frame of another port then waits for a few of its frames, not for a whole batch."""
    flooded, turns = switch.ports[1], []
    assert isinstance(flooded, PairPort)
    receive = flooded.receive

    def told(limit: int) -> list[bytes]:
        turns.append(limit)
        return receive(limit)

    flooded.receive = told  # type: ignore[method-assign]
    for _ in range(100):
        flooded.far.send(ASK)
    await until(lambda: flooded.statistics.rx_frames == 100)
    assert turns[:6] == [BATCH, BATCH // 2, BATCH // 4, BATCH // 8, FEW, FEW]
    for frames in (101, 102):
        flooded.far.send(ASK)
        await until(lambda frames=frames: flooded.statistics.rx_frames == frames)
    assert turns[-1] == BATCH
