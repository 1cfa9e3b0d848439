# SPDX-License-Identifier: Apache-2.0
"""What a run of the program starts from: the CPU's block, the port, the time, the length."""

from __future__ import annotations

from llvmlite import ir

from hvchannel_softswitch.xdp.ingress import NEAR, NO_PORT
from hvchannel_softswitch.xdp.lower.build import PROBE_METADATA, Build
from hvchannel_softswitch.xdp.lower.frame import Frame
from hvchannel_softswitch.xdp.lower.kernel import I32, I64, XDP_ABORTED, XDP_DROP, MapRef, i32, i64


class Arrival:
    """Writes it. `cpu`, `port` and `now` are the variables, of 64 bits."""

    def __init__(self, frame: Frame, build: Build, now: ir.Value, cpu: ir.Value) -> None:
        self._f = frame
        self._b = frame.b
        self._build = build
        self.now, self.cpu = now, cpu
        self.port = frame.variable("port", I64)

    def cpu_block(self) -> None:
        """This CPU's number and block."""
        f, b = self._f, self._b
        b.store(f.widen(f.kernel.cpu()), self.cpu)
        cpu = b.and_(f.get(self.cpu), i64(f.layout.cpu_count - 1))
        block = f.at(f.arena(f.layout.cpus), b.mul(cpu, i64(f.layout.cpu_stride)))
        b.store(block, f.cpu_block)

    def of_a_frame(self) -> None:
        """The port, the time, and the frame's length."""
        f, b = self._f, self._b
        b.store(f.frame_length(), f.length)
        if self._build.probe:
            self.probed(self.now)
            return
        if self._needs_time():
            b.store(f.kernel.now(), self.now)
        self.port_of(f.ingress_interface())

    def probed(self, second: ir.Value) -> None:
        """The two numbers that are in front of a probe's frame: the port, and one for the variable `second`."""
        f, b = self._f, self._b
        start = f.metadata_start()
        f.load_bounds()
        there = b.icmp_unsigned("<=", f.at(start, PROBE_METADATA), b.load(f.data, typ=start.type))
        self.go_on_if(there, XDP_ABORTED)
        b.store(f.load(start, 0, I64), self.port)
        b.store(f.load(start, 8, I64), second)

    def port_of(self, interface: ir.Value) -> None:
        """The port that an interface is; a frame of one that is none is dropped."""
        f, b = self._f, self._b
        key = f.variable("interface", I32)
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
        self.go_on_if(b.icmp_unsigned("!=", f.get(port, I32), i32(NO_PORT)), XDP_DROP)
        b.store(f.widen(f.get(port, I32)), self.port)

    def go_on_if(self, condition: ir.Value, otherwise: int) -> None:
        """Ends with a result, untold in any trace, unless the condition holds."""
        going_on, stop = self._f.block("going.on"), self._f.block("stop")
        self._b.cbranch(condition, going_on, stop)
        self._b.position_at_end(stop)
        self._b.ret(i32(otherwise))
        self._b.position_at_end(going_on)

    def _needs_time(self) -> bool:
        program = self._f.program
        stamps = ("ingress_global_timestamp", "egress_global_timestamp", "enq_timestamp")
        timed = any(table.support_timeout for table in program.tables.values())
        return (
            self._build.trace or bool(program.meters) or timed or any(s in program.standard for s in stamps)
        )
