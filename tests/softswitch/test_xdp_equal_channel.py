# SPDX-License-Identifier: Apache-2.0
"""The compiled program does with every frame what the interpreter does: the two vSwitches, with entries and frames of
which most are delivered, answered, policed or reported, and with entries that change between the frames.

HVCHANNEL_EQUAL_FRAMES sets how many frames go through each program (`make equal`: 100,000).
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
from finsy import P4Schema
from hvchannel_control.entries import Entry
from hvchannel_control.targets import TARGETS
from hvchannel_softswitch.engine import ActionCall, CounterData, EntryKey, Exact, MeterConfig
from hvchannel_softswitch.model import Beside, Program, load
from hvchannel_softswitch.model.pna import PNA_PORT_CPU
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ..traffic.frames import Choices, frame
from ..traffic.worlds import CPU_PORT, EVERYBODY, VLAN, VNI, entries_of, talks
from .engine_pair import Pair, pair

pytestmark = pytest.mark.root

FRAMES = int(os.environ.get("HVCHANNEL_EQUAL_FRAMES", "4000"))
BATCH = 48
PROGRAMS = ("host_vswitch", "guest_vswitch")
COMPILED = Path(__file__).parents[2] / "p4src" / "compiled"
CPU_PORTS = {"v1model": CPU_PORT, "pna": PNA_PORT_CPU}


class World:
    """A program's entries as they are at first, in the engine's words."""

    def __init__(self, name: str, program: Program, arch: str) -> None:
        self.name, self.cpu_port = name, CPU_PORTS[arch]
        self.talks = talks(name)
        wanted = dict.fromkeys(TARGETS[arch].entries(entries_of(name)))
        self.entries = [self._entry(program, entry) for entry in wanted if not entry.is_cell]
        self.cells = [entry for entry in wanted if entry.is_cell]
        self.writable = sorted(name for name, t in program.tables.items() if t.keys and not t.const_entries)

    @staticmethod
    def _entry(program: Program, entry: Entry) -> tuple[str, EntryKey, ActionCall, MeterConfig | None]:
        table, match, args = program.tables[entry.table], dict(entry.match), dict(entry.args)
        key = EntryKey(tuple(Exact(match[key.name]) for key in table.keys))
        call = ActionCall(entry.action, tuple(args[p.name] for p in table.action(entry.action).params))
        meter = entry.meter
        config = None if meter is None else MeterConfig(meter.cir, meter.cburst, meter.pir, meter.pburst)
        return entry.table, key, call, config

    def lay(self, both: Pair) -> None:
        """All of them into both engines."""
        for entry in self.entries:
            both.insert(*entry)
        for cell in self.cells:
            assert cell.meter is not None
            rates = MeterConfig(cell.meter.cir, cell.meter.cburst, cell.meter.pir, cell.meter.pburst)
            both.both("write_meter", cell.table, dict(cell.match)["index"], rates)
        both.flush()

    def frame(self, choose: Choices) -> tuple[int, bytes]:
        """A frame, and the port that it arrives on."""
        talk = choose.one(self.talks)
        data = frame(choose, talk, EVERYBODY)
        if choose.seldom(40):
            data += bytes(choose.number(2) % (9000 - len(data)))
        if talk.port != CPU_PORT:
            return talk.port, data
        identifier = VNI if self.name == "host_vswitch" else VLAN
        if choose.seldom():
            identifier = choose.number(3)
        data = data[: choose.byte() % 20] if choose.seldom(20) else data
        # The packet_out header: 24 bits of VNI, or 12 of VLAN and 4 to spare.
        header = (identifier & 0xFFFFFF).to_bytes(3) if self.name == "host_vswitch" else bytes(2)
        if self.name == "guest_vswitch":
            header = ((identifier & 0xFFF) << 4).to_bytes(2)
        return self.cpu_port, header + data

    def change(self, choose: Choices, both: Pair) -> None:
        """Something that a controller does between frames."""
        table, key, call, _ = choose.one(self.entries)
        known = both.reference.entry(table, key) is not None
        match choose.byte() % 8:
            case 0 if known:
                both.both("delete", table, key)
            case 0 | 1:
                both.insert(table, key, call)
            case 2:
                other = choose.one([entry for entry in self.entries if entry[0] == table])
                both.both("modify", table, key, other[2])
            case 3:
                both.both("modify", table, key, call)
            case 4 if both.program.tables[table].with_counters:
                data = CounterData(choose.number(7), choose.number(7))
                both.both("write_direct_counter", table, key, data)
            case 5 if both.program.tables[table].direct_meter is not None:
                rates = [choose.number(2) * 1000, choose.number(2), choose.number(2) * 1000, choose.number(2)]
                both.both(
                    "write_direct_meter", table, key, MeterConfig(*rates) if choose.byte() % 4 else None
                )
            case 6:
                for name in self.writable:  # those without parameters are the ones that a controller can set
                    action = choose.one(both.program.tables[name].actions)
                    if choose.seldom(6):
                        args = tuple(choose.number(1) for _ in action.params)
                        both.both("set_default_action", name, ActionCall(action.name, args))
                    elif choose.seldom(3):
                        both.both("set_default_action", name, None)
            case _:
                both.now += choose.number(4)
        both.flush()


class Batch:
    """What hypothesis draws. No dataclass: it would be printed at length."""

    def __init__(self, plan: list[bytes], changes: list[bytes]) -> None:
        self.plan, self.changes = plan, changes

    def __repr__(self) -> str:
        return f"Batch({len(self.plan)} frames, {len(self.changes)} changes)"


BATCHES = st.tuples(
    st.lists(st.binary(min_size=72, max_size=72), min_size=BATCH, max_size=BATCH),
    st.just([]) | st.lists(st.binary(min_size=20, max_size=20), max_size=BATCH // 2),
).map(lambda drawn: Batch(*drawn))


def load_program(name: str, arch: str) -> Program:
    """The program, with what its P4Info would say of it."""
    if arch == "v1model":
        return load((COMPILED / f"{name}.json").read_bytes())
    p4 = P4Schema(COMPILED / arch / f"{name}.p4info.txtpb")
    counters = {table.alias: c.alias for table in p4.tables if (c := table.direct_counter) is not None}
    beside = Beside(counters, tuple(digest.alias for digest in p4.digests))
    return load((COMPILED / arch / f"{name}.json").read_bytes(), beside)


def run(name: str, frames: int, arch: str = "v1model") -> Pair:
    """So many frames. The changes of a batch are undone before the next."""
    program = load_program(name, arch)
    world = World(name, program, arch)

    @settings(
        max_examples=-(-frames // BATCH),
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(batch=BATCHES)
    def whatever_comes(batch: Batch) -> None:
        both.reset()
        world.lay(both)
        changes = iter(batch.changes)
        for place, entropy in enumerate(batch.plan):
            # Half the batches are of one world throughout, as most of a switch's life is.
            if place % 2 and (change := next(changes, None)) is not None:
                world.change(Choices(change), both)
            both.now += 1000
            both.process(*world.frame(Choices(entropy)))
        both.compare()

    with pair(program, world.cpu_port) as both:
        whatever_comes()
    return both


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("arch", CPU_PORTS)
def test_the_compiled_program_does_what_the_interpreter_does(
    name: str, arch: str, capsys: pytest.CaptureFixture[str]
) -> None:
    began = time.monotonic()
    both = run(name, FRAMES, arch)
    assert both.frames >= FRAMES
    assert both.sent > both.frames // 5, "most frames should get somewhere"
    assert both.told > 0
    with capsys.disabled():
        seconds = time.monotonic() - began
        print(
            f"\n{arch} {name}: {both.frames} frames in {seconds:.0f} s: {both.sent} sent, {both.dropped} dropped, "
            f"{both.told} digests; no difference",
            file=sys.stderr,
        )
