# SPDX-License-Identifier: Apache-2.0
"""Multicast: at the end of ingress a packet is left in memory (see `xdp.replication`), and the kernel copies its frame
to the devices of its group's set. For each copy the second half of the program runs, which takes the packet up again.

What leads from the one to the other is in front of the frame:

    u32    which record the packet is left in
    u32    the set
"""

from __future__ import annotations

from llvmlite import ir

from hvchannel_softswitch.xdp.lower.build import MULTICAST, Role
from hvchannel_softswitch.xdp.lower.frame import Frame, resized
from hvchannel_softswitch.xdp.lower.kernel import (
    I16,
    I32,
    I64,
    POINTER,
    XDP_DROP,
    MapRef,
    i32,
    i64,
)
from hvchannel_softswitch.xdp.lower.stages import Stages
from hvchannel_softswitch.xdp.lower.storage import pieces
from hvchannel_softswitch.xdp.replication import INSTANCE_MASK, SET_PORTS, SETS, SLOTS, Replication
from hvchannel_softswitch.xdp.reports import PROBE_SLOT

_METADATA = 8


class Replicas:
    """Writes both ends of it, for one function or the other."""

    def __init__(self, stages: Stages, place: Replication) -> None:
        self._stages = stages
        self._place = place
        self._f: Frame = stages.frame
        self._b = self._f.b

    # --- the end of ingress -----------------------------------------------------------------------------------------

    def leave(self) -> None:
        """If ingress chose a multicast group, the packet goes to that, and nowhere else."""
        f, b = self._f, self._b
        self._stages.notes.note("multicast")
        group = f.widen(self._stages.storage.standard("mcast_grp"))
        multicast, otherwise = f.block("multicast"), f.block("no.multicast")
        b.cbranch(b.icmp_unsigned("!=", group, i64(0)), multicast, otherwise)
        b.position_at_end(multicast)
        if self._stages.build.probe:
            self._leave_in(f.arena(self._place.probe))
            self._tell(group, i64(PROBE_SLOT))
            self._stages.end(b.trunc(b.or_(group, i64(MULTICAST)), I32))
        else:
            self._copy(group)
        b.position_at_end(otherwise)

    def unicast(self) -> None:
        """The packet goes to one port, as itself."""
        stages = self._stages
        stages.storage.set_standard("egress_rid", i64(0))
        if stages.trace is not None:
            stages.trace.unicast(self._f.get(stages.arrival.port))

    def _copy(self, group: ir.Value) -> None:
        f, b, place = self._f, self._b, self._place
        block = f.get(f.cpu_block, POINTER)
        left = f.load(block, place.left, I64)
        slot = b.and_(left, i64(SLOTS - 1))
        self._tell(group, slot)
        chosen = f.widen(f.load(f.arena(place.groups), b.mul(group, i64(2)), I16))
        self._drop_unless(b.icmp_unsigned("!=", chosen, i64(0)))
        # The kernel copies what is in one piece only.
        start, end = (b.ptrtoint(f.get(bound, POINTER), I64) for bound in (f.data, f.data_end))
        self._drop_unless(b.icmp_unsigned("==", b.sub(end, start), f.frame_length()))
        f.store(b.add(left, i64(1)), block, place.left)
        self._leave_in(self._record(slot))
        key = f.variable("set", I32)
        b.store(b.trunc(chosen, I32), key)
        refused = f.kernel.adjust_meta(f.context, i32(-_METADATA & 0xFFFFFFFF))
        self._drop_unless(b.icmp_unsigned("==", refused, i64(0)))
        start, there = self._metadata()
        self._drop_unless(there)
        f.store(b.trunc(slot, I32), start)
        f.store(f.get(key, I32), start, 4)
        devices = f.kernel.lookup(MapRef.SETS, key)
        self._drop_unless(b.icmp_unsigned("!=", devices, ir.Constant(POINTER, None)))
        self._stages.end(b.trunc(f.kernel.broadcast(devices), I32))

    def _tell(self, group: ir.Value, slot: ir.Value) -> None:
        if self._stages.trace is not None:
            self._stages.trace.multicast(group, slot)

    def _drop_unless(self, condition: ir.Value) -> None:
        going_on = self._f.block("going.on")
        self._b.cbranch(condition, going_on, self._f.drop)
        self._b.position_at_end(going_on)

    def _metadata(self) -> tuple[ir.Value, ir.Value]:
        """Where it is, and whether it is there."""
        f, b = self._f, self._b
        start = f.metadata_start()
        f.load_bounds()
        return start, b.icmp_unsigned("<=", f.at(start, _METADATA), f.get(f.data, POINTER))

    # --- the beginning of egress ------------------------------------------------------------------------------------

    def resume(self) -> None:
        """One replica: its port, its instance, and everything that ingress left."""
        f, stages, place = self._f, self._stages, self._place
        arrival = stages.arrival
        stages.notes.note("a replica")
        arrival.cpu_block()
        if stages.build.probe:
            given = f.variable("instance", I64)
            arrival.probed(given)
            slot: ir.Value = i64(PROBE_SLOT)
            instance = f.get(given)
            record = f.arena(place.probe)
        else:
            slot, instance = self._sent_here()
            record = self._record(slot)
        self._take_up(record)
        f.load_bounds()
        if stages.trace is not None:
            stages.trace.replica(f.get(arrival.port), instance, slot)
        stages.storage.set_standard("egress_rid", instance)

    def _sent_here(self) -> tuple[ir.Value, ir.Value]:
        """The record's number, and the instance; the port is in its variable."""
        f, b, stages = self._f, self._b, self._stages
        # Generic XDP has no metadata here.
        start, there = self._metadata()
        stages.arrival.go_on_if(there, XDP_DROP)
        slot = b.and_(f.widen(f.load(start, 0, I32)), i64(SLOTS - 1))
        chosen = b.and_(f.widen(f.load(start, 4, I32)), i64(SETS - 1))
        # Else it would be there for whoever gets the frame.
        refused = f.kernel.adjust_meta(f.context, i32(_METADATA))
        stages.arrival.go_on_if(b.icmp_unsigned("==", refused, i64(0)), XDP_DROP)
        if stages.build.role is Role.CPU_REPLICA:
            assert stages.build.cpu_port is not None, "there is a replica for the CPU port"
            b.store(i64(stages.build.cpu_port), stages.arrival.port)
        else:
            stages.arrival.port_of(f.egress_interface())
        port = b.and_(f.get(stages.arrival.port), i64(SET_PORTS - 1))
        cell = b.mul(b.add(b.mul(chosen, i64(SET_PORTS)), port), i64(4))
        member = f.widen(f.load(f.arena(self._place.sets), cell, I32))
        return slot, b.and_(member, i64(INSTANCE_MASK))

    # --- the record -------------------------------------------------------------------------------------------------

    def _record(self, slot: ir.Value) -> ir.Value:
        f, place = self._f, self._place
        states = f.at(f.get(f.cpu_block, POINTER), place.states)
        return f.at(states, self._b.mul(slot, i64(place.stride)))

    def _leave_in(self, record: ir.Value) -> None:
        f, storage = self._f, self._stages.storage
        for header, offset in self._place.headers.items():
            room = storage.room(header)
            for at, kind in pieces(storage.room_size(header)):
                f.store(f.load(room, at, kind), record, offset + at)
        for variable, offset in self._words():
            f.store(f.get(variable), record, offset)
        for (header, field), offset in self._place.fields.items():
            value = storage.read(header, field)
            for word in range(-(-value.type.width // 64)):
                part = self._b.lshr(value, ir.Constant(value.type, 64 * word)) if word else value
                f.store(resized(self._b, part, 64), record, offset + 8 * word)

    def _take_up(self, record: ir.Value) -> None:
        f, b, storage = self._f, self._b, self._stages.storage
        for header, offset in self._place.headers.items():
            room = storage.room(header)
            for at, kind in pieces(storage.room_size(header)):
                f.store(f.load(record, offset + at, kind), room, at)
        # Ingress may have written any of them.
        storage.written.update(f.program.deparse)
        for variable, offset in self._words():
            b.store(f.reload(record, offset, I64), variable)
        for (header, field), offset in self._place.fields.items():
            width = f.program.headers[header].type.field(field).width
            value: ir.Value = ir.Constant(ir.IntType(width), 0)
            for word in range(-(-width // 64)):
                part = resized(b, f.reload(record, offset + 8 * word, I64), width)
                if word:
                    part = b.shl(part, ir.Constant(part.type, 64 * word))
                value = b.or_(value, part)
            storage.write(header, field, value)

    def _words(self) -> list[tuple[ir.Value, int]]:
        """The variables that a record has beside headers and metadata."""
        f, stages = self._f, self._stages
        variables = {
            "position": f.position,
            "length": f.length,
            "packet_length": stages.storage.packet_length,
            "cut": stages.statements.cut,
            "now": stages.arrival.now,
        }
        words = [(variables[name], offset) for name, offset in self._place.words.items()]
        for stack in f.program.stacks.values():
            if (stack.position, self._place.stacks[stack.position]) not in words:
                words.append((stages.storage.next_of(stack), self._place.stacks[stack.position]))
        return words
