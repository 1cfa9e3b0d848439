# SPDX-License-Identifier: Apache-2.0
"""A program that a process left running, in the hands of the next: its trace, and what it leaves itself."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hvchannel_softswitch import model
from hvchannel_softswitch.engine import ActionCall, EntryKey, Exact
from hvchannel_softswitch.trace import Tracer
from hvchannel_softswitch.xdp.frames import CompiledEngine
from hvchannel_softswitch.xdp.pinned import Pinned
from hvchannel_softswitch.xdp.ports import remove
from hvchannel_softswitch.xdp.switch import XdpSwitch

from .wires import HEADER, Host, receive, wait_for, wires

pytestmark = pytest.mark.root

PROGRAM = model.load((Path(__file__).parents[1] / "p4runtime" / "programs" / "kinds.json").read_bytes())
CONFIG = b"names the program"
TABLE = "ingress.exact_table"
KEY = EntryKey((Exact(int.from_bytes(HEADER[:6])), Exact(1)))
FRAME = HEADER + bytes(46)


@dataclass
class Place:
    run: Path
    sender: Host
    receiver: Host

    def switch(self, trace: io.StringIO | None = None, *, limit: int | None = None) -> XdpSwitch:
        switch = XdpSwitch([(1, "p1"), (2, "p2")], pinned=Pinned(self.run.name, run=self.run.parent))
        if trace is not None:
            switch.set_tracer(Tracer(trace, as_json=True, limit=limit))
        return switch

    def leave(self, *, traced: bool) -> None:
        """A switch that forwards, and is gone."""
        switch = self.switch(io.StringIO() if traced else None)
        engine = switch.load(PROGRAM)
        engine.insert(TABLE, KEY, ActionCall("ingress.to_port", (2,)))
        engine.flush()
        switch.keep_config(CONFIG)
        switch.commit(engine)
        switch.stop(leave_running=True)

    def passes(self) -> None:
        with self.sender.socket() as out, self.receiver.socket() as into:
            out.send(FRAME)
            assert receive(into) == FRAME


_numbers = count()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    name = f"t-{tmp_path.parent.name}-{next(_numbers)}"
    with wires() as world:
        made = Place(tmp_path / name, world.host("p1"), world.host("p2"))
        try:
            yield made
        finally:
            remove(Pinned(name, run=tmp_path))


def taken_over(switch: XdpSwitch) -> CompiledEngine:
    left = switch.adopt()
    assert left is not None
    assert left.config == CONFIG
    return switch.load_adopted(PROGRAM, left)


def traced(engine: CompiledEngine, trace: io.StringIO) -> list[dict[str, Any]]:
    engine.drain()
    return [json.loads(line) for line in trace.getvalue().splitlines()]


@pytest.mark.parametrize("before", [True, False], ids=["traced-before", "untraced-before"])
def test_it_is_traced_when_the_next_process_wants_it(place: Place, before: bool) -> None:
    place.leave(traced=before)
    if before:
        place.passes()  # and waits in the ring buffer
    trace = io.StringIO()
    switch = place.switch(trace)
    try:
        engine = taken_over(switch)
        place.passes()
        wait_for(lambda: len(traced(engine, trace)) == 1 + before, "the frames are traced")
        *_, packet = traced(engine, trace)
        assert (packet["port"], packet["frame"]) == (1, FRAME.hex())
        assert packet["out"] == [{"port": 2, "frame": FRAME.hex()}]
        assert {"condition": "hdr.packet_out.isValid()", "result": False} in packet["steps"]
    finally:
        switch.stop()


def test_it_is_traced_no_longer_when_the_next_process_does_not_want_it(place: Place) -> None:
    place.leave(traced=True)
    switch = place.switch()
    try:
        engine = taken_over(switch)
        engine.drain()
        place.passes()
        assert not engine.compiled.ring.read(1)
    finally:
        switch.stop()


def test_a_process_that_took_over_leaves_as_much_as_the_first(place: Place) -> None:
    """What it runs itself, at the end of its trace, names the program as before."""
    place.leave(traced=True)
    trace = io.StringIO()
    second = place.switch(trace, limit=1)
    engine = taken_over(second)
    place.passes()
    wait_for(lambda: traced(engine, trace), "the frame is traced")
    second.set_tracer(None)
    second.stop(leave_running=True)
    third = place.switch()
    try:
        entry = taken_over(third).entry(TABLE, KEY)
        assert entry is not None
        assert entry.action == ActionCall("ingress.to_port", (2,))
        place.passes()
    finally:
        third.stop()
