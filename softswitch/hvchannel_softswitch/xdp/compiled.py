# SPDX-License-Identifier: Apache-2.0
"""A program in the kernel: its maps, and the builds of it that are loaded.

Of a program there is the build that runs on the ports and, when first needed, one that runs a single frame for this
process (a probe: for PacketOut, tests and STF), and of each one that traces; of a program that multicasts, all of that
for its replicas too. All of them work on the same arena.
"""

from __future__ import annotations

import hashlib
import re
import struct
from dataclasses import dataclass
from pathlib import PurePath
from typing import NamedTuple

import structlog

from hvchannel_softswitch import bpf
from hvchannel_softswitch.bpf import AttachType, MapFlag, MapKind
from hvchannel_softswitch.engine import Replica
from hvchannel_softswitch.model import Program, UnsupportedProgram
from hvchannel_softswitch.model.program import Conditional
from hvchannel_softswitch.xdp.arena import ArenaError
from hvchannel_softswitch.xdp.codegen import Compiled, compile_ir, linked
from hvchannel_softswitch.xdp.layout import Layout, lay_out
from hvchannel_softswitch.xdp.lower import Build, Role, lower
from hvchannel_softswitch.xdp.lower.build import MULTICAST, PROBE_PADDING, SENT, TO_CPU
from hvchannel_softswitch.xdp.lower.kernel import MapRef
from hvchannel_softswitch.xdp.multicast import sets_map

RING_BYTES = 4 << 20
"""Digests, frames for the CPU port and traces that wait to be read."""

_METADATA = struct.Struct("<QQ")
ARENA, EVENTS, SETS = "arena", "events", "sets"
"""The maps' names, to those that find them pinned."""

_NO_MAP = -1
_CACHED = 8
"""Builds that are kept, the latest."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PortMaps:
    """The maps of the ports that a program is to run on; see `lower.kernel.MapRef`."""

    near: int
    far: int
    devices: int


NO_PORTS = PortMaps(_NO_MAP, _NO_MAP, _NO_MAP)
"""Of a program that is run on single frames only."""


@dataclass(frozen=True, slots=True)
class Left:
    """What a process before this one left of a program that runs on; `sets`: if it multicasts."""

    arena: bpf.Map
    events: bpf.Map
    sets: bpf.Map | None = None


class Probed(NamedTuple):
    """What became of a frame, if it was not dropped: it is to leave by a port, or it was left for the replicas of a
    multicast group."""

    port: int | None
    frame: bytes
    group: int = 0


class CompiledProgram:
    """A program's maps and builds."""

    def __init__(
        self,
        program: Program,
        *,
        port_maps: PortMaps,
        drop_port: int,
        cpu_port: int | None,
        left: Left | None = None,
    ) -> None:
        """Nothing is compiled yet. Raises UnsupportedProgram, OSError, ArenaError."""
        self.program = program
        self.layout: Layout = lay_out(program, bpf.possible_cpus())
        self.sets: bpf.Map | None = None
        """Of a program that multicasts on ports."""
        if left is not None:
            self.arena, self.events = left.arena, left.events
        else:
            self.arena = bpf.create_map(MapKind.ARRAY, 4, self.layout.size, 1, MapFlag.MMAPABLE, name="arena")
            self.events = bpf.create_map(MapKind.RINGBUF, 0, 0, RING_BYTES, name="events")
        if self.layout.replication is not None and port_maps is not NO_PORTS:
            if left is not None and left.sets is None:
                raise ArenaError("the devmaps of the multicast groups are not there")
            self.sets = sets_map() if left is None else left.sets
        self.memory = self.arena.memory()
        self.ring = bpf.RingBuffer(self.events)
        self.conditions: tuple[Conditional, ...] = ()
        """As a trace numbers them; there once a build that traces has been made."""
        self._descriptors = {
            MapRef.ARENA: self.arena.fd,
            MapRef.EVENTS: self.events.fd,
            MapRef.NEAR: port_maps.near,
            MapRef.FAR: port_maps.far,
            MapRef.DEVICES: port_maps.devices,
            MapRef.SETS: _NO_MAP if self.sets is None else self.sets.fd,
        }
        self._drop_port, self._cpu_port = drop_port, cpu_port
        self._builds: dict[tuple[bool, bool, Role], bpf.Program] = {}

    @property
    def maps(self) -> dict[str, bpf.Map]:
        """What a process after this one needs, by names."""
        sets = {} if self.sets is None else {SETS: self.sets}
        return {ARENA: self.arena, EVENTS: self.events, **sets}

    def compile(self, *, probe: bool, trace: bool, role: Role = Role.WHOLE) -> Compiled:
        """The instructions of a build, without its maps. Raises UnsupportedProgram."""
        build = Build(self._drop_port, self._cpu_port, probe=probe, trace=trace, role=role)
        compiled = _compiled(self.program, self.layout, build)
        if trace:
            self.conditions = compiled.conditions
        return compiled

    def prepare(self) -> None:
        """Makes the builds that ports need. Raises as `build`."""
        self.build()
        if self.layout.replication is not None:
            self.build(role=Role.REPLICA)
            if self._cpu_port is not None:
                self.build(role=Role.CPU_REPLICA)

    def build(self, *, probe: bool = False, trace: bool = False, role: Role = Role.WHOLE) -> bpf.Program:
        """A build, loaded; made when it is first asked for. Raises UnsupportedProgram, of a program that the kernel
        refuses too, naming the construct that it stopped at."""
        key = (probe, trace, role)
        if key not in self._builds:
            compiled = self.compile(probe=probe, trace=trace, role=role)
            on_devmap = role is not Role.WHOLE and not probe
            try:
                self._builds[key] = bpf.load_program(
                    linked(compiled.instructions, self._descriptors),
                    name=_kernel_name(self.program.name),
                    expected_attach_type=AttachType.XDP_DEVMAP if on_devmap else AttachType.XDP,
                    frags=True,
                )
            except bpf.VerifierError as error:
                raise UnsupportedProgram(_refusal(compiled, error)) from error
        return self._builds[key]

    def probe(self, port: int, frame: bytes, now: int, *, trace: bool) -> Probed | None:
        """Runs a frame that arrives on `port` at `now`; None if it is dropped. Raises OSError, ValueError for a frame
        longer than 64 KiB."""
        return self._probed(Role.WHOLE, port, frame, now, trace)

    def probe_replica(self, replica: Replica, frame: bytes, *, trace: bool) -> Probed | None:
        """The replica of the frame that `probe` has just left for its group; None if it is dropped. Raises OSError."""
        return self._probed(Role.REPLICA, replica.port, frame, replica.instance, trace)

    def _probed(self, role: Role, port: int, frame: bytes, second: int, trace: bool) -> Probed | None:
        padded, metadata = probe_input(port, frame, second)
        run = self.build(probe=True, trace=trace, role=role).test_run(padded, metadata=metadata)
        if run.result & MULTICAST:
            return Probed(None, frame, run.result & (MULTICAST - 1))
        if run.result & SENT:
            number = run.result & (SENT - 1)
            to = self._cpu_port if number == TO_CPU and self._cpu_port is not None else number
            return Probed(to, run.frame[: len(run.frame) - PROBE_PADDING])
        return None

    def close(self) -> None:
        """Closes what is this process's; what runs on ports or is pinned stays."""
        for program in self._builds.values():
            program.close()
        self.ring.close()
        self.memory.close()
        for held in self.maps.values():
            held.close()


def probe_input(port: int, frame: bytes, now: int) -> tuple[bytes, bytes]:
    """What a probe is run on, for a frame that arrives on `port` at `now`: the frame as it has it, and the metadata in
    front of that. For a replica's probe, its instance stands in the time's place."""
    return frame + bytes(PROBE_PADDING), _METADATA.pack(port, now)


_cache: dict[bytes, Compiled] = {}


def _compiled(program: Program, layout: Layout, build: Build) -> Compiled:
    """A program is often set again as it was, by a controller that restarts or a test that begins afresh."""
    key = hashlib.sha256(repr((program, layout.cpu_count, build)).encode()).digest()
    found = _cache.pop(key, None) or compile_ir(lower(program, layout, build))
    _cache[key] = found
    while len(_cache) > _CACHED:
        del _cache[next(iter(_cache))]
    return found


def forget_builds() -> None:
    """What is built next is compiled anew."""
    _cache.clear()


def _kernel_name(name: str) -> str:
    """What `bpftool prog` shows: of a path, the file's stem, as far as the kernel has room for it."""
    return re.sub(r"\W", "_", PurePath(name).stem)[:15] or "program"


def _refusal(compiled: Compiled, error: bpf.VerifierError) -> str:
    origins = compiled.origins()
    known = error.instruction is not None and error.instruction < len(origins)
    where = f" at {origins[error.instruction]}" if known and error.instruction is not None else ""
    log.debug("verifier_log", log=error.log[-4000:])
    return f"the kernel's verifier refuses it{where}: {error}"
