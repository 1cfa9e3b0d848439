# SPDX-License-Identifier: Apache-2.0
"""What a program that multicasts has in its arena beside the rest (see `layout`): the replicas of each group, and the
packets that have passed ingress and wait for egress to make replicas of them.

    groups      u16[65536]    the set that is in force for a group; 0: none
    sets        SETS records of u32[PORTS]: what the set does with each port
                    0                                    nothing
                    place << 17 | MEMBER | instance      `place`: its place in the group, from 0
    probe       one record, of the packet that a probe has left

and in a CPU's block

    left        u64: how many packets this CPU has left
    states      SLOTS records: packet `n` is in record `n % SLOTS`

A set is written before a group leads to it, and never changes; it is used again when no packet can be on its way
through it any more. So each packet meets one set of replicas, whole.

**A packet's record** has its headers' rooms one after the other, as they are in the CPU's block; then u64 words: those
of `WORDS`, the next index of each stack, and of the metadata those fields that egress may look at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass

from hvchannel_softswitch.model import Program, UnsupportedProgram
from hvchannel_softswitch.model import expressions as ex
from hvchannel_softswitch.model import statements as st
from hvchannel_softswitch.model.headers import Header
from hvchannel_softswitch.model.program import Conditional, Pipeline, Table

GROUP_BITS = 16
"""Of mcast_grp, in v1model."""

SETS, MOST_GROUPS = 2048, 1023
"""Sets, and groups that can be in force: of each there may be a set that it has and one that it is about to have."""

SET_PORTS, MEMBER, PLACE_SHIFT, INSTANCE_MASK = 512, 1 << 16, 17, 0xFFFF

SLOTS = 128
"""A power of two. The kernel sends replicas at the latest after 64 frames (a NAPI poll), so a record is read before it
is written again."""

WORDS = ("position", "length", "packet_length", "cut", "now")

_SET_BY_EGRESS = frozenset(
    (
        "egress_port",
        "egress_spec",
        "egress_rid",
        "instance_type",
        "packet_length",
        "egress_global_timestamp",
        "enq_timestamp",
    )
)


@dataclass(frozen=True, slots=True)
class Replication:
    """Where all this is. `headers`, `words`, `stacks` and `fields` are offsets in a packet's record."""

    groups: int
    sets: int
    probe: int
    left: int
    states: int
    stride: int
    headers: Mapping[str, int]
    words: Mapping[str, int]
    stacks: Mapping[str, int]
    fields: Mapping[tuple[str, str], int]


def multicasts(program: Program) -> bool:
    """Whether some packet may be sent to a multicast group."""
    group = program.standard.get("mcast_grp")
    if group is None:
        return False
    bodies = [state.ops for state in program.parser.states.values()] + [a.body for a in program.actions]
    return any(
        getattr(op, "target", None) == group and op != st.Assign(group, ex.Const(0))
        for body in bodies
        for op in body
    )


def lay_out_replication(
    program: Program, room: Callable[[Header], int], take: Callable[[int], int], per_cpu: Callable[[int], int]
) -> Replication | None:
    """The places of a program that multicasts; None of any other. `room`: the size of a header's room; `take` and
    `per_cpu` hand out memory. Raises UnsupportedProgram."""
    if not multicasts(program):
        return None
    width = program.standard["mcast_grp"].width
    if width != GROUP_BITS:
        raise UnsupportedProgram(f"mcast_grp has {width} bits (valid: {GROUP_BITS})")
    end = 0

    def place(size: int) -> int:
        nonlocal end
        start, end = end, end + size
        return start

    headers = {h.name: place(room(h)) for h in program.headers.values() if not h.metadata}
    words = {name: place(8) for name in WORDS}
    stacks = {stack.position: place(8) for stack in program.stacks.values()}
    kept = {
        (header, field): place(-(-program.headers[header].type.field(field).width // 64) * 8)
        for header, field in _kept(program)
    }
    return Replication(
        groups=take(2 << GROUP_BITS),
        sets=take(SETS * SET_PORTS * 4),
        probe=take(end),
        left=per_cpu(8),
        states=per_cpu(SLOTS * end),
        stride=end,
        headers=headers,
        words=words,
        stacks=stacks,
        fields=kept,
    )


def _kept(program: Program) -> list[tuple[str, str]]:
    """The metadata that egress may look at and does not get anew, in order."""
    found = set[tuple[str, str]]()
    _mentions(program, program.egress, found)
    _mentions(program, program.update, found)
    anew = {(f.header, f.field) for name, f in program.standard.items() if name in _SET_BY_EGRESS}
    return sorted(pair for pair in found - anew if program.headers[pair[0]].metadata)


def _mentions(program: Program, value: object, found: set[tuple[str, str]]) -> None:
    match value:
        case ex.FieldRef(header=header, field=field):
            found.add((header, field))
        case ex.HeaderRef(name=name):
            found.update((name, field.name) for field in program.headers[name].type.fields)
        case Pipeline():
            _mentions(program, [value.nodes[name] for name in value.order], found)
        case Table():
            _mentions(program, [key.source for key in value.keys], found)
            _mentions(program, value.actions, found)
        case Conditional():
            _mentions(program, value.expression, found)
        case tuple() | list():
            for part in value:
                _mentions(program, part, found)
        case _ if is_dataclass(value):
            for part in fields(value):
                _mentions(program, getattr(value, part.name), found)
