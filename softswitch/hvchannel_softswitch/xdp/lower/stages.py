# SPDX-License-Identifier: Apache-2.0
"""The stages of a packet's way, each written by one call, in the order in which it passes them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from llvmlite import ir

from hvchannel_softswitch.model import Program
from hvchannel_softswitch.model.program import Checksum
from hvchannel_softswitch.xdp import layout
from hvchannel_softswitch.xdp.layout import Layout
from hvchannel_softswitch.xdp.lower.arrival import Arrival
from hvchannel_softswitch.xdp.lower.build import PROBE_PADDING, SENT, TO_CPU, Build, Role
from hvchannel_softswitch.xdp.lower.deparser import Deparser
from hvchannel_softswitch.xdp.lower.events import Events, Trace
from hvchannel_softswitch.xdp.lower.frame import Frame, resized
from hvchannel_softswitch.xdp.lower.kernel import (
    I1,
    I8,
    I32,
    I64,
    XDP_DROP,
    XDP_PASS,
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


class Stages:
    """Writes stages of one function."""

    def __init__(self, program: Program, place: Layout, build: Build) -> None:
        f = self.frame = self._f = Frame(program, place, padding=PROBE_PADDING if build.probe else 0)
        self._b = f.b
        self.build = build
        self.program = program
        self.notes = Notes(f)
        now, cpu = f.variable("now", I64), f.variable("cpu", I64)
        self.storage = Storage(f)
        self._numbers = Numbers(f, self.storage)
        meters = Meters(f, now)
        self._events = Events(f, cpu)
        self.statements = Statements(
            f, self.storage, self._numbers, meters, self._events, drop_port=build.drop_port
        )
        self.trace = Trace(f, self._events) if build.trace else None
        note = self.notes.note
        # It begins with blocks of its own, which a replica's function has no use for.
        self._parser = (
            Parser(f, self.storage, self._numbers, self.statements, self.trace, note)
            if build.role is Role.WHOLE
            else None
        )
        lookup = Lookup(f, self.storage, self._numbers)
        self._pipeline = Pipeline(
            f,
            self._numbers,
            self.statements,
            lookup,
            meters,
            self.trace,
            now,
            note,
        )
        self._deparser = Deparser(f, self.storage, self.statements)
        self.arrival = Arrival(f, build, now, cpu)

    # --- arrival and parser -----------------------------------------------------------------------------------------

    def begin(self) -> None:
        """A frame arrives."""
        f, b, storage = self._f, self._b, self.storage
        self.notes.note("arrival")
        self.arrival.cpu_block()
        self.arrival.of_a_frame()
        f.load_bounds()
        storage.begin()
        b.store(f.get(f.length), storage.packet_length)
        port = f.get(self.arrival.port)
        storage.set_standard("ingress_port", port)
        storage.set_standard("packet_length", f.get(f.length))
        self._timestamp("ingress_global_timestamp")
        if self.trace is not None:
            self.trace.begin(port, f.get(self.arrival.now), f.get(f.length))

    def parse(self) -> None:
        """The parser, and the checksums to verify."""
        f, b, parser = self._f, self._b, self._parser
        assert parser is not None, "a replica is not parsed again"
        parser.write()
        self.notes.note("after the parser")
        error = f.get(parser.error, I32)
        self.storage.set_standard("parser_error", error)
        if self.trace is not None:
            no_error = ir.Constant(I32, self.program.errors["NoError"])
            with f.when(b.icmp_unsigned("!=", error, no_error)):
                self.trace.parser_error(error)
        for place, checksum in enumerate(self.program.verify):
            self.notes.note(f"checksum {checksum.name}")
            with self._if_due(checksum, self.storage.valid(checksum.target.header)):
                result = self.statements.calculate(checksum.calculation)
                target = checksum.target
                found = self.storage.read(target.header, target.field)
                wrong = b.icmp_unsigned("!=", resized(b, result, target.width), found)
                with f.when(wrong):
                    self.storage.set_standard("checksum_error", ir.Constant(I1, 1))
                    if self.trace is not None:
                        self.trace.checksum_error(place)

    @contextmanager
    def _if_due(self, checksum: Checksum, also: ir.Value | None = None) -> Iterator[None]:
        condition = also if also is not None else ir.Constant(I1, 1)
        if checksum.condition is not None:
            condition = self._b.and_(condition, self._numbers.truth(checksum.condition))
        with self._f.when(condition):
            yield

    # --- ingress ----------------------------------------------------------------------------------------------------

    def ingress(self) -> None:
        """The ingress pipeline, and its digest."""
        self._pipeline.write(self.program.ingress)
        self.notes.note("end of ingress")
        self._digest()

    def _digest(self) -> None:
        f, b = self._f, self._b
        for name, ident in self.statements.learn_ids.items():
            learn_list = self.program.learn_lists[name]
            asked = b.icmp_unsigned("==", f.get(self.statements.digest, I8), ir.Constant(I8, ident))
            with f.when(asked, likely=False):
                values = [
                    self._numbers.modulo(element, width)
                    for element, width in zip(learn_list.elements, learn_list.widths, strict=True)
                ]
                words = f.packed(values, packing(learn_list.widths))
                self._events.words(Kind.DIGEST, [i64(ident), *words])

    def unicast(self) -> None:
        """The packet goes to the port that ingress chose, unless it dropped it."""
        self._drop(0)
        spec = self.storage.standard("egress_spec")
        self._b.store(resized(self._b, spec, 64), self.arrival.port)

    def _drop(self, egress: int) -> None:
        f, b = self._f, self._b
        spec = self.storage.standard("egress_spec")
        going_on, dropped = f.block("kept"), f.block("dropped")
        b.cbranch(
            b.icmp_unsigned("==", spec, ir.Constant(spec.type, self.build.drop_port)), dropped, going_on
        )
        b.position_at_end(dropped)
        if self.trace is not None:
            self.trace.dropped(egress)
        b.branch(f.drop)
        b.position_at_end(going_on)

    # --- egress -----------------------------------------------------------------------------------------------------

    def egress(self, instance_type: int) -> None:
        """The egress pipeline of a packet that goes to the variable port, and the checksums to update."""
        self._begin_egress(instance_type)
        self._pipeline.write(self.program.egress)
        self.notes.note("end of egress")
        self._drop(1)
        for checksum in self.program.update:
            self.notes.note(f"checksum {checksum.name}")
            with self._if_due(checksum):
                result = self.statements.calculate(checksum.calculation)
                target = checksum.target
                self.storage.write(target.header, target.field, resized(self._b, result, target.width))

    def _begin_egress(self, instance_type: int) -> None:
        storage, f = self.storage, self._f
        storage.set_standard("egress_port", f.get(self.arrival.port))
        spec = self.program.standard["egress_spec"]
        # As simple_switch does: a value that is not the drop port's, so that only egress itself can drop from here.
        other = (self.build.drop_port + 1) & ((1 << spec.width) - 1)
        storage.write(spec.header, spec.field, ir.Constant(ir.IntType(spec.width), other))
        storage.set_standard("instance_type", i64(instance_type))
        storage.set_standard("packet_length", f.get(storage.packet_length))
        self._timestamp("egress_global_timestamp")
        self._timestamp("enq_timestamp")

    def _timestamp(self, name: str) -> None:
        """Microseconds since the program was loaded."""
        if name in self.program.standard:
            f, b = self._f, self._b
            since = b.sub(f.get(self.arrival.now), f.load(f.arena(), layout.STARTED, I64))
            self.storage.set_standard(name, b.udiv(since, i64(1000)))

    # --- out --------------------------------------------------------------------------------------------------------

    def deparse(self) -> None:
        """The frame as it goes out."""
        self.notes.note("deparser")
        self._deparser.write()

    def send(self) -> None:
        """Out by the port, or to this process."""
        f, b, build = self._f, self._b, self.build
        self.notes.note("out")
        port = f.get(self.arrival.port)
        if self.trace is not None:
            self.trace.sent(port, f.frame_length())
        if build.probe:
            self.end(b.trunc(self._probed(port), I32))
            return
        if build.role is Role.REPLICA:
            self.end(i32(XDP_PASS))
            return
        if build.role is Role.CPU_REPLICA:
            self._to_cpu()
            return
        if build.cpu_port is not None:
            to_cpu, to_port = f.block("to.cpu"), f.block("to.port")
            b.cbranch(b.icmp_unsigned("==", port, i64(build.cpu_port)), to_cpu, to_port)
            b.position_at_end(to_cpu)
            self._to_cpu()
            b.position_at_end(to_port)
        result = f.kernel.redirect(MapRef.DEVICES, port, XDP_DROP)
        self.end(b.trunc(result, I32))

    def _probed(self, port: ir.Value) -> ir.Value:
        """A probe's result for a frame that goes out by the port; beyond 16 bits there are no ports but the CPU's."""
        b, cpu_port = self._b, self.build.cpu_port
        exists = b.icmp_unsigned("<", port, i64(TO_CPU))
        result = b.select(exists, b.or_(port, i64(SENT)), i64(XDP_DROP))
        if cpu_port is None:
            return result
        return b.select(b.icmp_unsigned("==", port, i64(cpu_port)), i64(SENT | TO_CPU), result)

    def _to_cpu(self) -> None:
        self._events.frame(Kind.TO_CPU, [])
        self.end(i32(XDP_DROP))

    def end(self, result: ir.Value) -> None:
        """The run ends with this result."""
        if self.trace is not None:
            self.trace.end()
        self._b.ret(result)

    def finish(self) -> None:
        """The function is written."""
        self._b.position_at_end(self._f.drop)
        self.end(i32(XDP_DROP))
        self._f.finish()
