# SPDX-License-Identifier: Apache-2.0
"""The whole engine: tables that the control plane writes, and frames."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable

from hvchannel_softswitch import bpf
from hvchannel_softswitch.engine import DigestSink, FrameSink, IdleSink
from hvchannel_softswitch.messages import check_failed, log_message, messages
from hvchannel_softswitch.model import Program
from hvchannel_softswitch.model import statements as st
from hvchannel_softswitch.trace import Tracer
from hvchannel_softswitch.xdp.compiled import NO_PORTS, CompiledProgram, PortMaps
from hvchannel_softswitch.xdp.engine import XdpEngine
from hvchannel_softswitch.xdp.layout import STARTED
from hvchannel_softswitch.xdp.packing import Packing, packing
from hvchannel_softswitch.xdp.reports import FRAME_WORDS, MESSAGE_WORDS, Kind, Record, parse
from hvchannel_softswitch.xdp.tap import Tap
from hvchannel_softswitch.xdp.tracing import TraceReader

_READ = 256
"""Records read from the ring at a time."""


class CompiledEngine(XdpEngine):
    """An engine (see `engine.Engine`) for any program of the subset that `lower` takes."""

    def __init__(
        self,
        program: Program,
        *,
        frames: FrameSink,
        digests: DigestSink,
        drop_port: int,
        cpu_port: int | None = None,
        port_maps: PortMaps = NO_PORTS,
        clock: Callable[[], int] = time.monotonic_ns,
        idle: IdleSink | None = None,
        left: tuple[bpf.Map, bpf.Map] | None = None,
    ) -> None:
        """`left`: the arena and the ring buffer of a process before this one, whose program runs on. Raises
        UnsupportedProgram, OSError, ArenaError."""
        arena, events = left if left is not None else (None, None)
        self.compiled = CompiledProgram(
            program,
            port_maps=port_maps,
            drop_port=drop_port,
            cpu_port=cpu_port,
            arena=arena,
            events=events,
        )
        if left is None:
            struct.pack_into("<Q", self.compiled.memory, STARTED, clock())
        super().__init__(
            program,
            self.compiled.layout,
            self.compiled.memory,
            clock=clock,
            synchronize=bpf.synchronize,
            idle=idle,
            adopted=left is not None,
        )
        self._frames, self._digests, self._now = frames, digests, clock
        self._cpu_port = cpu_port
        self._lists: list[tuple[str, Packing]] = [
            (name, packing(learn_list.widths)) for name, learn_list in program.learn_lists.items()
        ]
        self._messages = tuple(messages(program))
        self._trace = TraceReader(self, self.compiled)

    def process(self, port: int, frame: bytes) -> None:
        """See Engine. Raises ValueError for a frame longer than 64 KiB, which no port brings."""
        out = self.compiled.probe(port, frame, self._now(), trace=self._is_watched)
        self.drain()
        if out is not None:
            self._frames(*out)

    def set_tracer(self, tracer: Tracer | None) -> None:
        """Traces every packet of `process` to `tracer` from the next one on; None stops."""
        self.watch(tracer, None)
        if self._is_watched:
            self.compiled.build(probe=True, trace=True)

    def watch(self, tracer: Tracer | None, tap: Tap | None) -> None:
        """Tells these of each packet on its way, once the builds that run are ones that trace: those of the ports are
        the switch's to run."""
        if tracer is not None:
            tracer.attach(self.program)
        self._trace.tracer, self._trace.tap = tracer, tap

    @property
    def _is_watched(self) -> bool:
        tracer = self._trace.tracer
        return self._trace.tap is not None or (tracer is not None and not tracer.exhausted)

    def drain(self) -> None:
        """Hands on what the program has told."""
        while records := self.compiled.ring.read(_READ):
            for data in records:
                self._told(parse(data, FRAME_WORDS))

    def _told(self, record: Record) -> None:
        if record.kind is Kind.DIGEST:
            name, packed = self._lists[record.words[0] - 1]
            values = packed.unpack(record.words[1 : 1 + packed.words].tolist())
            self._trace.digest(record.cpu, name, values)
            self._digests(name, values)
        elif record.kind is Kind.MESSAGE:
            self._say(record.words.tolist())
        elif record.kind is Kind.TO_CPU:
            assert self._cpu_port is not None
            self._frames(self._cpu_port, bytes(record.frame))
        else:
            self._trace.record(record)

    def _say(self, words: list[int]) -> None:
        message, values = self._messages[words[0]], words[1:]
        if isinstance(message, st.Check):
            check_failed(message.kind)
            return
        data = struct.pack(f"<{len(values)}Q", *values)
        size = 8 * MESSAGE_WORDS
        parts = (data[start : start + size] for start in range(0, len(data), size))
        log_message(message.format, [int.from_bytes(part, "little", signed=True) for part in parts])

    def close(self) -> None:
        """Lets go of all maps; what runs on ports runs on."""
        self.release()
        self.compiled.close()
