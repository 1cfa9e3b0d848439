# SPDX-License-Identifier: Apache-2.0
"""The whole engine: tables that the control plane writes, and frames."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Mapping

from hvchannel_softswitch import bpf
from hvchannel_softswitch.engine import DigestSink, FrameSink, IdleSink, Replica
from hvchannel_softswitch.messages import check_failed, log_message, messages
from hvchannel_softswitch.model import Program
from hvchannel_softswitch.model import statements as st
from hvchannel_softswitch.trace import Tracer
from hvchannel_softswitch.xdp.compiled import NO_PORTS, CompiledProgram, Left, PortMaps, Probed
from hvchannel_softswitch.xdp.engine import XdpEngine
from hvchannel_softswitch.xdp.layout import STARTED
from hvchannel_softswitch.xdp.lower import Role
from hvchannel_softswitch.xdp.multicast import LiveGroups, Outlet, check_group
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
        left: Left | None = None,
    ) -> None:
        """Raises UnsupportedProgram, OSError, ArenaError."""
        self.compiled = CompiledProgram(
            program,
            port_maps=port_maps,
            drop_port=drop_port,
            cpu_port=cpu_port,
            left=left,
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
        self._devices: Mapping[int, int] = {}
        self._tells = False
        self._live: LiveGroups | None = None
        replication, sets = self.compiled.layout.replication, self.compiled.sets
        if replication is not None and sets is not None:
            self._live = LiveGroups(self._arena, replication, sets, bpf.synchronize, self._outlet)
            if left is not None:
                self._groups.update(self._live.adopt())
        self._lists: list[tuple[str, Packing]] = [
            (name, packing(learn_list.widths)) for name, learn_list in program.learn_lists.items()
        ]
        self._messages = tuple(messages(program))
        self._trace = TraceReader(self, self.compiled)

    def process(self, port: int, frame: bytes) -> None:
        """See Engine. Raises ValueError for a frame longer than 64 KiB, which no port brings."""
        out = self.compiled.probe(port, frame, self._now(), trace=self._is_watched)
        outs = [out] if out is None or not out.group else self._replicas(out)
        self.drain()
        for one in outs:
            if one is not None and one.port is not None:
                self._frames(one.port, one.frame)

    def _replicas(self, out: Probed) -> list[Probed | None]:
        replicas = self._groups.get(out.group, ())
        return [self.compiled.probe_replica(r, out.frame, trace=self._is_watched) for r in replicas]

    # --- multicast groups -------------------------------------------------------------------------------------------

    def set_multicast_group(self, group: int, replicas: tuple[Replica, ...] | None) -> None:
        """See Engine. Raises EngineError for one that the kernel cannot make, if the program multicasts at all."""
        if replicas is not None and self.multicasts:
            check_group(group, replicas, self._groups)
        if self._live is not None:
            self._live.set(group, replicas)
        super().set_multicast_group(group, replicas)

    def flush(self) -> None:
        """See Engine. Raises OSError when the kernel has no room for another multicast group."""
        super().flush()
        if self._live is not None:
            self._live.flush()

    @property
    def multicasts(self) -> bool:
        """Whether the program does."""
        return self.compiled.layout.replication is not None

    def connect(self, devices: Mapping[int, int], *, trace: bool) -> None:
        """Replicas for ports go to these interfaces from now on, by a build that traces or not. The replica for the CPU
        port, whose frame this process gets, is made where a frame for the first of them would be. Raises OSError."""
        if self._live is not None and (list(self._devices.items()), self._tells) != (
            list(devices.items()),
            trace,
        ):
            self._devices, self._tells = dict(devices), trace
            self._live.connect()

    def _outlet(self, port: int) -> Outlet | None:
        is_cpu = port == self._cpu_port
        ifindex = next(iter(self._devices.values()), None) if is_cpu else self._devices.get(port)
        if ifindex is None:
            return None
        role = Role.CPU_REPLICA if is_cpu else Role.REPLICA
        return Outlet(ifindex, self.compiled.build(trace=self._tells, role=role).fd)

    def reach(self, group: int, *, live: bool) -> tuple[tuple[Replica, ...], int]:
        """A group's replicas, and how many of them egress runs for: on ports, those that are there."""
        replicas = self._groups.get(group, ())
        there = self._devices.keys() | ({self._cpu_port} if self._devices else set())
        return replicas, sum(replica.port in there for replica in replicas) if live else len(replicas)

    # --- watching ---------------------------------------------------------------------------------------------------

    def set_tracer(self, tracer: Tracer | None) -> None:
        """Traces every packet of `process` to `tracer` from the next one on; None stops."""
        self.watch(tracer, None)
        if self._is_watched:
            self.compiled.build(probe=True, trace=True)

    def watch(self, tracer: Tracer | None, tap: Tap | None) -> None:
        """Tells these of each packet on its way, once the builds that run are ones that trace: those of the ports are
        the switch's to run."""
        self._trace.flush()
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
