# SPDX-License-Identifier: Apache-2.0
"""Programs and entries exchanged under a stream of frames: none is lost, none is treated by a mix of two."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hvchannel_softswitch import model
from hvchannel_softswitch.engine import ActionCall, EntryKey, Exact
from hvchannel_softswitch.xdp.frames import CompiledEngine
from hvchannel_softswitch.xdp.switch import XdpSwitch

from .wires import HEADER, TYPE, Host, receive, wires

pytestmark = pytest.mark.root

PROGRAM = model.load((Path(__file__).parent / "programs" / "stamps.json").read_bytes())
KEY = EntryKey((Exact(int.from_bytes(TYPE)),))
TABLES = ("StampsIngress.first", "StampsEgress.second")
NUMBER = slice(len(HEADER), len(HEADER) + 4)
FIRST, SECOND = len(HEADER) + 4, len(HEADER) + 5
EXCHANGES = 20
AHEAD = 128
"""Frames on their way at any time."""


@pytest.fixture
def hosts() -> Iterator[tuple[XdpSwitch, Host, Host]]:
    with wires() as world:
        sender, receiver = world.host("p1"), world.host("p2")
        switch = XdpSwitch([(1, "p1"), (2, "p2")])
        try:
            yield switch, sender, receiver
        finally:
            switch.stop()


def filled(switch: XdpSwitch, stamp: int) -> CompiledEngine:
    """The program with entries that stamp with one number."""
    engine = switch.load(PROGRAM)
    engine.insert(TABLES[0], KEY, ActionCall("StampsIngress.stamp", (stamp, 2)))
    engine.insert(TABLES[1], KEY, ActionCall("StampsEgress.stamp", (stamp,)))
    engine.flush()
    return engine


class Stream:
    """Numbered frames from one host to the other, as fast as they come; `stamps` are those of what came, in order."""

    def __init__(self, sender: Host, receiver: Host) -> None:
        self._out, self._in = sender.socket(), receiver.socket()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._sent = 0
        self.came: list[tuple[int, int, int]] = []

    def __enter__(self) -> Stream:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def reached(self, count: int) -> None:
        """Waits until so many more have come."""
        goal = len(self.came) + count
        while len(self.came) < goal:
            assert self._thread.is_alive(), f"the stream ended after {len(self.came)} frames"
            self._thread.join(0.001)

    def whole(self) -> bool:
        """Whether all came, in their order."""
        return [number for number, _, _ in self.came] == list(range(self._sent))

    def _run(self) -> None:
        for _ in range(AHEAD):
            self._send()
        while not self._over.is_set():
            self._take()
            self._send()
        for _ in range(AHEAD):
            self._take()

    def _send(self) -> None:
        self._out.send(HEADER + self._sent.to_bytes(4, "big") + bytes(46))
        self._sent += 1

    def _take(self) -> None:
        frame = receive(self._in)
        self.came.append((int.from_bytes(frame[NUMBER]), frame[FIRST], frame[SECOND]))


def test_a_program_replaces_another_with_its_entries_in_place(hosts: tuple[XdpSwitch, Host, Host]) -> None:
    switch, sender, receiver = hosts
    switch.commit(filled(switch, 1))
    with Stream(sender, receiver) as stream:
        for stamp in range(2, EXCHANGES + 2):
            before = switch.engine
            switch.commit(filled(switch, stamp))
            assert before is not None
            before.close()
            stream.reached(2 * AHEAD)
    assert stream.whole()
    assert all(first == second for _, first, second in stream.came)
    stamps = [first for _, first, _ in stream.came]
    assert sorted(set(stamps)) == list(range(1, EXCHANGES + 2))
    assert all(later >= earlier for earlier, later in pairwise(stamps)), "an old program ran after a new one"


def test_entries_are_exchanged_without_a_miss(hosts: tuple[XdpSwitch, Host, Host]) -> None:
    switch, sender, receiver = hosts
    engine = filled(switch, 0)
    switch.commit(engine)
    with Stream(sender, receiver) as stream:
        stream.reached(AHEAD)
        for turn in range(2000):
            engine.modify(TABLES[0], KEY, ActionCall("StampsIngress.stamp", (turn % 256, 2)))
            engine.modify(TABLES[1], KEY, ActionCall("StampsEgress.stamp", (turn % 256,)))
        stream.reached(AHEAD)
    assert stream.whole()
    assert len({first for _, first, _ in stream.came}) > 1
