# SPDX-License-Identifier: Apache-2.0
"""A program in the kernel: its maps, and the builds of it that are loaded.

Of a program there is the build that runs on the ports and, when first needed, one that runs a single frame for this
process (a probe: for PacketOut, tests and STF), and of each one that traces. All of them work on the same arena.
"""

from __future__ import annotations

import hashlib
import re
import struct
from dataclasses import dataclass
from pathlib import PurePath

import structlog

from hvchannel_softswitch import bpf
from hvchannel_softswitch.bpf import MapFlag, MapKind
from hvchannel_softswitch.model import Program, UnsupportedProgram
from hvchannel_softswitch.model.program import Conditional
from hvchannel_softswitch.xdp.codegen import Compiled, compile_ir, linked
from hvchannel_softswitch.xdp.layout import Layout, lay_out
from hvchannel_softswitch.xdp.lower import Build, lower
from hvchannel_softswitch.xdp.lower.kernel import MapRef
from hvchannel_softswitch.xdp.lower.program import PROBE_PADDING, SENT

RING_BYTES = 4 << 20
"""Digests, frames for the CPU port and traces that wait to be read."""

_METADATA = struct.Struct("<QQ")
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


class CompiledProgram:
    """A program's maps and builds."""

    def __init__(
        self,
        program: Program,
        *,
        port_maps: PortMaps,
        drop_port: int,
        cpu_port: int | None,
        arena: bpf.Map | None = None,
        events: bpf.Map | None = None,
    ) -> None:
        """`arena` and `events`: those of a process before this one. Nothing is compiled yet. Raises OSError."""
        self.program = program
        self.layout: Layout = lay_out(program, bpf.possible_cpus())
        self.arena = arena or bpf.create_map(
            MapKind.ARRAY, 4, self.layout.size, 1, MapFlag.MMAPABLE, name="arena"
        )
        self.events = events or bpf.create_map(MapKind.RINGBUF, 0, 0, RING_BYTES, name="events")
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
        }
        self._drop_port, self._cpu_port = drop_port, cpu_port
        self._builds: dict[tuple[bool, bool], bpf.Program] = {}

    def compile(self, *, probe: bool, trace: bool) -> Compiled:
        """The instructions of a build, without its maps. Raises UnsupportedProgram."""
        build = Build(self._drop_port, self._cpu_port, probe=probe, trace=trace)
        compiled = _compiled(self.program, self.layout, build)
        if trace:
            self.conditions = compiled.conditions
        return compiled

    def build(self, *, probe: bool = False, trace: bool = False) -> bpf.Program:
        """A build, loaded; made when it is first asked for. Raises UnsupportedProgram, of a program that the kernel
        refuses too, naming the construct that it stopped at."""
        key = (probe, trace)
        if key not in self._builds:
            compiled = self.compile(probe=probe, trace=trace)
            try:
                self._builds[key] = bpf.load_program(
                    linked(compiled.instructions, self._descriptors),
                    name=_kernel_name(self.program.name),
                    frags=True,
                )
            except bpf.VerifierError as error:
                raise UnsupportedProgram(_refusal(compiled, error)) from error
        return self._builds[key]

    def probe(self, port: int, frame: bytes, now: int, *, trace: bool) -> tuple[int, bytes] | None:
        """Runs a frame that arrives on `port` at `now`: the egress port and the frame as it leaves, or None if it is
        dropped. Raises OSError, ValueError for a frame longer than 64 KiB."""
        padded, metadata = probe_input(port, frame, now)
        run = self.build(probe=True, trace=trace).test_run(padded, metadata=metadata)
        if not run.result & SENT:
            return None
        return run.result & (SENT - 1), run.frame[: len(run.frame) - PROBE_PADDING]

    def close(self) -> None:
        """Closes what is this process's; what runs on ports or is pinned stays."""
        for program in self._builds.values():
            program.close()
        self.ring.close()
        self.memory.close()
        self.events.close()
        self.arena.close()


def probe_input(port: int, frame: bytes, now: int) -> tuple[bytes, bytes]:
    """What a probe is run on, for a frame that arrives on `port` at `now`: the frame as it has it, and the metadata in
    front of that."""
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
    log.debug("verifier's log", log=error.log[-4000:])
    return f"the kernel's verifier refuses it{where}: {error}"
