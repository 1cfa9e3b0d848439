# SPDX-License-Identifier: Apache-2.0
"""A packet's way, in order, as simple_switch takes it: parser, ingress, digest, egress, deparser, out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from llvmlite import ir

from hvchannel_softswitch.model import Program, UnsupportedProgram
from hvchannel_softswitch.model import statements as st
from hvchannel_softswitch.model.program import Checksum, Conditional
from hvchannel_softswitch.xdp import layout
from hvchannel_softswitch.xdp.ingress import NEAR, NO_PORT
from hvchannel_softswitch.xdp.layout import Layout
from hvchannel_softswitch.xdp.lower.deparser import Deparser
from hvchannel_softswitch.xdp.lower.events import Events, Trace
from hvchannel_softswitch.xdp.lower.frame import Frame, resized
from hvchannel_softswitch.xdp.lower.kernel import (
    I1,
    I8,
    I32,
    I64,
    XDP_ABORTED,
    XDP_DROP,
    MapRef,
    i32,
    i64,
)
from hvchannel_softswitch.xdp.lower.lookup import Lookup
from hvchannel_softswitch.xdp.lower.meters import Meters
from hvchannel_softswitch.xdp.lower.notes import Notes
from hvchannel_softswitch.xdp.lower.numbers import Numbers
from hvchannel_softswitch.xdp.lower.parser import Parser
from hvchannel_softswitch.xdp.lower.pipeline import Pipeline
from hvchannel_softswitch.xdp.lower.statements import Statements
from hvchannel_softswitch.xdp.lower.storage import Storage
from hvchannel_softswitch.xdp.packing import packing
from hvchannel_softswitch.xdp.reports import Kind

SENT = 1 << 16
"""A probe's result for a frame that is sent: this, and the port."""

PROBE_METADATA = 16
"""Bytes in front of a probe's frame: u64 port, u64 the time in nanoseconds."""

PROBE_PADDING = 14
"""Bytes behind a probe's frame that are not its own: the kernel runs none that is shorter than an Ethernet header, and
lets none become shorter."""


@dataclass(frozen=True, slots=True)
class Build:
    """What to compile. `probe`: to be run on single frames, each with its port and time in front of it, and whose
    result says where the frame goes, instead of on a port. `trace`: tells each packet's way."""

    drop_port: int
    cpu_port: int | None
    probe: bool = False
    trace: bool = False


@dataclass(frozen=True, slots=True)
class Lowered:
    """The IR, what its lines are about (see `notes`), and the conditions in the order in which a trace numbers them."""

    module: ir.Module
    notes: Notes
    conditions: tuple[Conditional, ...]


def lower(program: Program, place: Layout, build: Build) -> Lowered:
    """Raises UnsupportedProgram, naming the construct that is not in this engine's subset."""
    return _Lowering(program, place, build).lowered()


class _Lowering:
    def __init__(self, program: Program, place: Layout, build: Build) -> None:
        f = self._f = Frame(program, place, padding=PROBE_PADDING if build.probe else 0)
        self._b = f.b
        self._build = build
        self._program = program
        self._notes = Notes(f)
        self._now = f.variable("now", I64)
        self._cpu = f.variable("cpu", I64)
        self._storage = Storage(f)
        self._numbers = Numbers(f, self._storage)
        meters = Meters(f, self._now)
        self._events = Events(f, self._cpu)
        self._statements = Statements(
            f, self._storage, self._numbers, meters, self._events, drop_port=build.drop_port
        )
        self._trace = Trace(f, self._events) if build.trace else None
        self._parser = Parser(
            f,
            self._storage,
            self._numbers,
            self._statements,
            self._trace,
            self._notes.note,
        )
        lookup = Lookup(f, self._storage, self._numbers)
        self._pipeline = Pipeline(
            f, self._numbers, self._statements, lookup, meters, self._trace, self._now, self._notes.note
        )
        self._deparser = Deparser(f, self._storage, self._statements)
        self._port = f.variable("port", I64)

    def lowered(self) -> Lowered:
        f, notes, spec = self._f, self._notes, self._program.standard["egress_spec"]
        notes.note("arrival")
        self._begin()
        self._parser.write()
        notes.note("after the parser")
        self._end_of_parser()
        self._refuse_copies()
        self._pipeline.write(self._program.ingress)
        notes.note("end of ingress")
        self._digest()
        self._drop(0)
        self._b.store(resized(self._b, self._storage.read(spec.header, spec.field), 64), self._port)
        self._begin_egress()
        self._pipeline.write(self._program.egress)
        notes.note("end of egress")
        self._drop(1)
        for checksum in self._program.update:
            notes.note(f"checksum {checksum.name}")
            with self._if_due(checksum):
                result = self._statements.calculate(checksum.calculation)
                target = checksum.target
                self._storage.write(target.header, target.field, resized(self._b, result, target.width))
        notes.note("deparser")
        self._deparser.write()
        notes.note("out")
        self._send()
        self._b.position_at_end(f.drop)
        self._end(i32(XDP_DROP))
        f.finish()
        conditions = tuple(self._trace.conditions) if self._trace is not None else ()
        return Lowered(f.module, notes, conditions)

    # --- arrival ----------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        f, b = self._f, self._b
        b.store(f.widen(f.kernel.cpu()), self._cpu)
        cpu = b.and_(f.get(self._cpu), i64(f.layout.cpu_count - 1))
        block = f.at(f.arena(f.layout.cpus), b.mul(cpu, i64(f.layout.cpu_stride)))
        b.store(block, f.cpu_block)
        self._arrive()
        f.load_bounds()
        self._storage.begin()
        b.store(f.get(f.length), self._storage.packet_length)
        port = f.get(self._port)
        self._storage.set_standard("ingress_port", port)
        self._storage.set_standard("packet_length", f.get(f.length))
        self._timestamp("ingress_global_timestamp")
        if self._trace is not None:
            self._trace.begin(port, f.get(self._now), f.get(f.length))

    def _arrive(self) -> None:
        """The port, the time, and the frame's length."""
        f, b = self._f, self._b
        b.store(f.frame_length(), f.length)
        if self._build.probe:
            start = f.metadata_start()
            f.load_bounds()
            there = b.icmp_unsigned("<=", f.at(start, PROBE_METADATA), b.load(f.data, typ=start.type))
            self._go_on_if(there, XDP_ABORTED)
            b.store(f.load(start, 0, I64), self._port)
            b.store(f.load(start, 8, I64), self._now)
            return
        if self._needs_time():
            b.store(f.kernel.now(), self._now)
        key = f.variable("interface", I32)
        interface = f.ingress_interface()
        b.store(interface, key)
        port = f.variable("found", I32, i32(NO_PORT))
        near, far, known = f.block("near"), f.block("far"), f.block("known")
        b.cbranch(b.icmp_unsigned("<", interface, i32(NEAR)), near, far)
        for block, which in ((near, MapRef.NEAR), (far, MapRef.FAR)):
            b.position_at_end(block)
            found = f.kernel.lookup(which, key)
            with f.when(b.icmp_unsigned("!=", found, ir.Constant(found.type, None))):
                b.store(f.load(found, 0, I32), port)
            b.branch(known)
        b.position_at_end(known)
        self._go_on_if(b.icmp_unsigned("!=", f.get(port, I32), i32(NO_PORT)), XDP_DROP)
        b.store(f.widen(f.get(port, I32)), self._port)

    def _needs_time(self) -> bool:
        program = self._program
        stamps = ("ingress_global_timestamp", "egress_global_timestamp", "enq_timestamp")
        timed = any(table.support_timeout for table in program.tables.values())
        return (
            self._build.trace or bool(program.meters) or timed or any(s in program.standard for s in stamps)
        )

    def _go_on_if(self, condition: ir.Value, otherwise: int) -> None:
        going_on, stop = self._f.block("going.on"), self._f.block("stop")
        self._b.cbranch(condition, going_on, stop)
        self._b.position_at_end(stop)
        self._b.ret(i32(otherwise))
        self._b.position_at_end(going_on)

    def _timestamp(self, name: str) -> None:
        """Microseconds since the program was loaded."""
        if name in self._program.standard:
            b = self._b
            since = b.sub(self._f.get(self._now), self._f.load(self._f.arena(), layout.STARTED, I64))
            self._storage.set_standard(name, b.udiv(since, i64(1000)))

    # --- between the stages -----------------------------------------------------------------------------------------

    def _end_of_parser(self) -> None:
        f, b = self._f, self._b
        error = f.get(self._parser.error, I32)
        self._storage.set_standard("parser_error", error)
        if self._trace is not None:
            no_error = ir.Constant(I32, self._program.errors["NoError"])
            with f.when(b.icmp_unsigned("!=", error, no_error)):
                self._trace.parser_error(error)
        for place, checksum in enumerate(self._program.verify):
            self._notes.note(f"checksum {checksum.name}")
            with self._if_due(checksum, self._storage.valid(checksum.target.header)):
                result = self._statements.calculate(checksum.calculation)
                target = checksum.target
                found = self._storage.read(target.header, target.field)
                wrong = b.icmp_unsigned("!=", resized(b, result, target.width), found)
                with f.when(wrong):
                    self._storage.set_standard("checksum_error", ir.Constant(I1, 1))
                    if self._trace is not None:
                        self._trace.checksum_error(place)

    @contextmanager
    def _if_due(self, checksum: Checksum, also: ir.Value | None = None) -> Iterator[None]:
        condition = also if also is not None else ir.Constant(I1, 1)
        if checksum.condition is not None:
            condition = self._b.and_(condition, self._numbers.truth(checksum.condition))
        with self._f.when(condition):
            yield

    def _refuse_copies(self) -> None:
        """Replication to multicast groups is not in this engine's subset."""
        group = self._program.standard.get("mcast_grp")
        for action in self._program.actions:
            for statement in action.body:
                assigned = isinstance(statement, st.Assign) and statement.target == group
                if group is not None and assigned:
                    raise UnsupportedProgram(f"action {action.name!r} sets a multicast group")

    def _digest(self) -> None:
        f, b = self._f, self._b
        for name, ident in self._statements.learn_ids.items():
            learn_list = self._program.learn_lists[name]
            asked = b.icmp_unsigned("==", f.get(self._statements.digest, I8), ir.Constant(I8, ident))
            with f.when(asked, likely=False):
                values = [
                    self._numbers.modulo(element, width)
                    for element, width in zip(learn_list.elements, learn_list.widths, strict=True)
                ]
                words = f.packed(values, packing(learn_list.widths))
                self._events.words(Kind.DIGEST, [i64(ident), *words])

    def _drop(self, egress: int) -> None:
        f, b = self._f, self._b
        spec = self._storage.standard("egress_spec")
        going_on, dropped = f.block("kept"), f.block("dropped")
        b.cbranch(
            b.icmp_unsigned("==", spec, ir.Constant(spec.type, self._build.drop_port)), dropped, going_on
        )
        b.position_at_end(dropped)
        if self._trace is not None:
            self._trace.dropped(egress)
        b.branch(f.drop)
        b.position_at_end(going_on)

    def _begin_egress(self) -> None:
        storage, f = self._storage, self._f
        storage.set_standard("egress_port", f.get(self._port))
        spec = self._program.standard["egress_spec"]
        # As simple_switch does: a value that is not the drop port's, so that only egress itself can drop from here.
        other = (self._build.drop_port + 1) & ((1 << spec.width) - 1)
        storage.write(spec.header, spec.field, ir.Constant(ir.IntType(spec.width), other))
        storage.set_standard("instance_type", i64(0))
        storage.set_standard("packet_length", f.get(storage.packet_length))
        self._timestamp("egress_global_timestamp")
        self._timestamp("enq_timestamp")

    # --- out --------------------------------------------------------------------------------------------------------

    def _send(self) -> None:
        f, b, build = self._f, self._b, self._build
        port = f.get(self._port)
        if self._trace is not None:
            self._trace.sent(port, f.frame_length())
        if build.probe:
            self._end(b.trunc(b.or_(port, i64(SENT)), I32))
            return
        if build.cpu_port is not None:
            to_cpu, to_port = f.block("to.cpu"), f.block("to.port")
            b.cbranch(b.icmp_unsigned("==", port, i64(build.cpu_port)), to_cpu, to_port)
            b.position_at_end(to_cpu)
            self._events.frame(Kind.TO_CPU, [])
            self._end(i32(XDP_DROP))
            b.position_at_end(to_port)
        result = f.kernel.redirect(MapRef.DEVICES, port, XDP_DROP)
        self._end(b.trunc(result, I32))

    def _end(self, result: ir.Value) -> None:
        if self._trace is not None:
            self._trace.end()
        self._b.ret(result)
