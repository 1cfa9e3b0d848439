# SPDX-License-Identifier: Apache-2.0
"""What becomes of a program in the kernel: its instructions with the P4 construct that each comes from, its tables and
maps with the memory that they take. Made without the kernel."""

from __future__ import annotations

from dataclasses import dataclass

from hvchannel_softswitch.model import Program, Table
from hvchannel_softswitch.xdp.codegen import Compiled, compile_ir, used_maps
from hvchannel_softswitch.xdp.compiled import RING_BYTES
from hvchannel_softswitch.xdp.ingress import NEAR, PORTS
from hvchannel_softswitch.xdp.layout import CELL, GROUPS, METER_SIZE, Layout, lay_out
from hvchannel_softswitch.xdp.listing import Line
from hvchannel_softswitch.xdp.lower import Build, lower
from hvchannel_softswitch.xdp.lower.kernel import MapRef
from hvchannel_softswitch.xdp.lower.pipeline import is_inline, is_one_action
from hvchannel_softswitch.xdp.replication import SETS

IN_CODE = "in the code"
"""The kind of a table that is compared with, not looked up."""


@dataclass(frozen=True, slots=True)
class TableFacts:
    """A table: `kind` says how a packet is looked up, `size` how many entries there can be, `memory` the bytes that it
    takes in the arena, its direct counters and meters included."""

    name: str
    keys: tuple[str, ...]
    kind: str
    size: int
    memory: int


@dataclass(frozen=True, slots=True)
class MapFacts:
    """A map that the program uses."""

    name: str
    kind: str
    memory: int
    purpose: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """One build of a program."""

    instructions: int
    stack: int
    tables: tuple[TableFacts, ...]
    maps: tuple[MapFacts, ...]
    lines: tuple[Line, ...]


def explain(program: Program, build: Build, possible_cpus: int) -> Explanation:
    """Raises UnsupportedProgram, naming the construct that is not in this engine's subset."""
    layout = lay_out(program, possible_cpus)
    compiled = compile_ir(lower(program, layout, build))
    tables = (_table(t, layout) for t in program.tables.values() if not is_one_action(t))
    return Explanation(
        len(compiled.instructions) // 8,
        compiled.stack,
        tuple(tables),
        _maps(compiled, layout),
        tuple(compiled.listing()),
    )


def _table(table: Table, layout: Layout) -> TableFacts:
    keys = tuple(f"{key.name} {key.kind.value} {key.width}" for key in table.keys)
    here = layout.tables[table.name]
    if is_inline(table):
        kind = IN_CODE
    elif not table.keys:
        kind = "default action only"
    elif here.exact:
        kind = "hash"
    else:
        kind = f"hash per mask, at most {here.max_steps} steps"
    memory = 8 + here.stride * here.slots
    if table.keys:
        memory += 4 * here.bucket_count
    if not here.exact:
        memory += 2 * GROUPS * here.group_stride
    if table.with_counters:
        memory += CELL * here.slots * (layout.cpu_count + 1)
    if table.direct_meter is not None:
        memory += METER_SIZE * here.slots
    return TableFacts(table.name, keys, kind, table.max_size if table.keys else 1, memory)


def _maps(compiled: Compiled, layout: Layout) -> tuple[MapFacts, ...]:
    known = {
        MapRef.ARENA: MapFacts("arena", "array", layout.size, "tables, counters, meters, registers"),
        MapRef.EVENTS: MapFacts("events", "ringbuf", RING_BYTES, "digests, frames for the CPU port, traces"),
        MapRef.NEAR: MapFacts("ingress", "array", 8 * NEAR, "from an interface to its port"),
        MapRef.FAR: MapFacts("ingress_far", "hash", 8 * PORTS, "the same, for interfaces with large numbers"),
        MapRef.DEVICES: MapFacts("ports", "devmap", 8 * PORTS, "from a port to its interface"),
        MapRef.SETS: MapFacts("sets", "maps", 8 * SETS, "from a multicast group to its interfaces"),
    }
    return tuple(known[which] for which in sorted(used_maps(compiled.instructions)))
