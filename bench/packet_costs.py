# SPDX-License-Identifier: Apache-2.0
"""What a packet costs in the kernel, by BPF_PROG_TEST_RUN of the compiled programs; how that grows with the tables; and
what it takes to have a program there.

The frame is one that both vSwitches forward, from the hypervisor to a guest. For the growth, frames to as many guests
as are attached follow one another, so that no cache holds what each of them needs.
"""

from __future__ import annotations

import json
import statistics
import struct
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from hvchannel_control.entries import Entry
from hvchannel_lab.topology import Topology, plan
from hvchannel_softswitch import bpf, model
from hvchannel_softswitch.engine import ActionCall, EntryKey, Exact
from hvchannel_softswitch.xdp import compiled as builds
from hvchannel_softswitch.xdp.frames import CompiledEngine

from bench.figures import Figure
from bench.routes.attachments import ENTRIES, guest_entries, host_entries

COMPILED = Path(__file__).parent.parent / "p4src" / "compiled"
REPEAT = 200_000
SIZES = (10, 1_000, 100_000)
"""Entries of the tables, for the growth."""
FRAMES = 2_000
"""Different frames per size."""
LOADS = 7
LOAD_GOAL = 500

_DROP_PORT = 511
_CPU_PORT = 510
_DOES_NOTHING = bytes.fromhex("b7000000020000009500000000000000")  # return XDP_PASS
_ROOM = 1 << 17


def measure() -> list[Figure]:
    """Nanoseconds per packet and program, and milliseconds to load one. Raises OSError, UnsupportedProgram."""
    return [*_programs(), *_growth(), *_loading()]


def _programs() -> list[Figure]:
    topology = plan("bench", Path("/nonexistent"), vms=1)
    least = _cost(bpf.load_program(_DOES_NOTHING, name="nothing", frags=True), [(_udp(topology), b"")])
    floor = "an empty program"
    figures = [Figure(f"cost of a packet: {floor}", least, "ns")]
    worlds = {
        "host_vswitch": (host_entries(topology), topology.hypervisor.hostd_port, False),
        "guest_vswitch": (guest_entries(topology), topology.vms[0].eth_port, True),
    }
    for name, (entries, port, tagged) in worlds.items():
        engine = _filled(name, entries, ENTRIES)
        cost = _engine_cost(engine, port, [_udp(topology, tagged=tagged)])
        figures.append(
            Figure(f"cost of a packet: {name}, {ENTRIES} entries a table", cost, "ns", floor, cost / least)
        )
        engine.close()
    return figures


def _growth() -> list[Figure]:
    """The table `forward` alone, so that what is compared is its look-up and what surrounds it."""
    topology = plan("bench", Path("/nonexistent"), vms=1)
    figures: list[Figure] = []
    first: dict[int, float] = {}
    for size in SIZES:
        engine = _filled("host_vswitch", _to_one_port(topology, size), size)
        for count in (1, FRAMES):
            numbers = [step * size // FRAMES if size > FRAMES else step % size for step in range(count)]
            frames = [_udp(topology, destination=number) for number in numbers]
            cost = _engine_cost(engine, topology.hypervisor.hostd_port, frames)
            smallest = first.setdefault(count, cost)
            what = "one frame over and over" if count == 1 else f"{count} different frames, each once"
            name = f"cost of a packet: host_vswitch, {size} entries in forward, {what}"
            figures.append(Figure(name, cost, "ns", f"{SIZES[0]} entries", cost / smallest))
        engine.close()
    return figures


def _loading() -> list[Figure]:
    figures = []
    for name in ("host_vswitch", "guest_vswitch"):
        program = model.load((COMPILED / f"{name}.json").read_bytes())
        fresh: list[float] = []
        again: list[float] = []
        for _ in range(LOADS):
            builds.forget_builds()
            for taken in (fresh, again):
                began = time.perf_counter()
                engine = _engine(program)
                engine.compiled.build(probe=True)
                taken.append(1e3 * (time.perf_counter() - began))
                engine.close()
        whole = statistics.median(fresh)
        figures += [
            Figure(
                f"compile and verify {name}",
                whole,
                "ms",
                goal=f"<= {LOAD_GOAL} ms",
                passed=whole <= LOAD_GOAL,
            ),
            Figure(f"verify {name}, compiled before", statistics.median(again), "ms"),
        ]
    return figures


def _engine(program: model.Program) -> CompiledEngine:
    return CompiledEngine(
        program,
        frames=lambda _port, _frame: None,
        digests=lambda _name, _values: None,
        drop_port=_DROP_PORT,
        cpu_port=_CPU_PORT,
    )


def _filled(name: str, entries: Iterable[Entry], size: int) -> CompiledEngine:
    """The program with these entries, its tables as large as they need."""
    code = json.loads((COMPILED / f"{name}.json").read_bytes())
    for pipeline in code["pipelines"]:
        for table in pipeline["tables"]:
            if table["key"] and "entries" not in table:
                table["max_size"] = max(table["max_size"], min(2 * size, _ROOM))
    engine = _engine(model.load(json.dumps(code).encode()))
    names = {table.rpartition(".")[2]: table for table in engine.program.tables}
    for entry in entries:
        table = engine.program.tables[names[entry.table]]
        match, args = dict(entry.match), dict(entry.args)
        action = next(known for known in table.actions if known.name.rpartition(".")[2] == entry.action)
        key = EntryKey(tuple(Exact(match[one.name]) for one in table.keys))
        engine.insert(
            table.name, key, ActionCall(action.name, tuple(args[one.name] for one in action.params))
        )
    engine.flush()
    return engine


def _to_one_port(topology: Topology, size: int) -> list[Entry]:
    """As with one guest, and `size` addresses behind its port."""
    entries = host_entries(topology, 1)
    models = {entry.table: entry for entry in entries if _leads_to(entry, topology.vms[0].mac)}
    translate = next(entry for entry in entries if entry.table == "translate")
    found = [entry for entry in entries if entry not in (models["forward"], translate)]
    for number in range(size):
        ip = _address(topology, number)
        found.append(_with(models["forward"], dst_ip=ip))
        found.append(_with(translate, dst_ip=ip))
    return found


def _leads_to(entry: Entry, mac: str) -> bool:
    return dict(entry.match).get("dst_mac") == int(mac.replace(":", ""), 16)


def _with(entry: Entry, **match: int) -> Entry:
    values = {**dict(entry.match), **match}
    return Entry(entry.table, tuple(sorted(values.items())), entry.action, entry.args)


def _address(topology: Topology, number: int) -> int:
    return int(topology.channel.lip_first) + number


def _engine_cost(engine: CompiledEngine, port: int, frames: Sequence[bytes]) -> float:
    program = engine.compiled.build(probe=True)
    now = time.monotonic_ns()
    for frame in frames:
        if engine.compiled.probe(port, frame, now, trace=False) is None:
            raise RuntimeError(f"the frame is not forwarded: {frame.hex()}")
    return _cost(program, [builds.probe_input(port, frame, now) for frame in frames])


def _cost(program: bpf.Program, runs: Sequence[tuple[bytes, bytes]]) -> float:
    """Nanoseconds per run, of frames with what is in front of them: of one frame run many times, or of many, each run
    once, their mean."""
    repeat = REPEAT if len(runs) == 1 else 1
    return statistics.mean(
        program.test_run(frame, metadata=ahead, repeat=repeat).nanoseconds for frame, ahead in runs
    )


def _udp(topology: Topology, *, tagged: bool = False, destination: int = 0) -> bytes:
    """64 bytes from the hypervisor to the guest, as its vSwitch gets them, or the guest's."""
    vm, hypervisor, channel = topology.vms[0], topology.hypervisor, topology.channel
    ends = bytes.fromhex((vm.mac + hypervisor.mac).replace(":", ""))
    tag = struct.pack(">HH", 0x8100, channel.vlan) if tagged else b""
    to = int(channel.cip) if tagged else _address(topology, destination)
    payload = bytes(22)
    udp = struct.pack(">HHHH", 40000, 40001, 8 + len(payload), 0)
    total = 20 + len(udp) + len(payload)
    ip = struct.pack(">BBHHHBBHII", 0x45, 0, total, 0, 0x4000, 64, 17, 0, int(hypervisor.address.ip), to)
    return ends + tag + struct.pack(">H", 0x0800) + ip + udp + payload
