# SPDX-License-Identifier: Apache-2.0
"""A switch whose program runs in the kernel: what `switch.Switch` is for the interpreter.

This process writes tables and reads what the program tells; frames pass without it. What is pinned goes on forwarding
when it dies, and the next process takes it over.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import structlog

from hvchannel_softswitch import bpf
from hvchannel_softswitch.bpf import XdpMode
from hvchannel_softswitch.engine import EntryKey, IdleSink
from hvchannel_softswitch.model import Program, UnsupportedProgram
from hvchannel_softswitch.ports import PortState, PortStatistics
from hvchannel_softswitch.sweeper import Sweeper
from hvchannel_softswitch.switch import DROP_PORT
from hvchannel_softswitch.trace import Tracer
from hvchannel_softswitch.xdp.compiled import ARENA, EVENTS, SETS, Left, PortMaps
from hvchannel_softswitch.xdp.frames import CompiledEngine
from hvchannel_softswitch.xdp.kept import Kept, forget_others, keep, kept
from hvchannel_softswitch.xdp.pinned import Pinned
from hvchannel_softswitch.xdp.ports import XdpPorts
from hvchannel_softswitch.xdp.sender import Sender
from hvchannel_softswitch.xdp.tap import Tap

_LET_THROUGH = bytes.fromhex("b7000000020000009500000000000000")
"""return XDP_PASS;"""

log = structlog.get_logger(__name__)


class XdpSwitch:
    """One switch: its ports, the engine in charge, the CPU port. All calls come from the thread of its loop."""

    def __init__(
        self,
        interfaces: Iterable[tuple[int, str]],
        *,
        cpu_port: int | None = None,
        drop_port: int = DROP_PORT,
        pinned: Pinned | None = None,
        pcap: Path | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """`interfaces` are (port number, name). With `pinned` the data path outlives this process, and that of one
        before is taken over: see `adopt`. `pcap`: a folder for <interface>_in.pcap and _out.pcap. Raises ValueError
        for numbers that cannot be, OSError."""
        given = tuple(interfaces)
        self.interfaces = dict(given)
        self.cpu_port = cpu_port
        self.drop_port = drop_port
        self.on_cpu_frame: Callable[[bytes], None] | None = None
        self.on_digest: Callable[[str, tuple[int, ...]], None] | None = None
        self.on_idle: IdleSink | None = None
        self.unknown_port_drops = 0
        """Frames of PacketOut that the program sent to a port that is not there."""
        self._pinned = pinned
        self._clock = clock
        self._ports = XdpPorts(given, pinned=pinned)
        self._sender = Sender(self.interfaces)
        self._tap = Tap(pcap, self.interfaces) if pcap is not None else None
        self._engine: CompiledEngine | None = None
        self._tracer: Tracer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sweeper = Sweeper()
        self._config = b""
        self._is_traced = False
        self._generic: list[int] = []

    @property
    def ports(self) -> dict[int, str]:
        """The interfaces' names by port."""
        return self.interfaces

    def port_states(self) -> dict[int, PortState]:
        """How each port fares now; one whose interface goes while it is looked at has counted nothing."""
        states = {}
        for number, name in self.interfaces.items():
            try:
                counted = self._ports.statistics(number)
            except OSError:
                counted = PortStatistics()
            states[number] = PortState(name, self._ports.is_up(number), counted)
        return states

    @property
    def engine(self) -> CompiledEngine | None:
        """The engine in charge; None until the first `commit`."""
        return self._engine

    # --- programs ---------------------------------------------------------------------------------------------------

    def load(self, program: Program) -> CompiledEngine:
        """Compiles a program and loads it, its entries in place; it does not run until `commit`. Raises
        UnsupportedProgram, OSError."""
        engine = self._make(program, None)
        try:
            engine.compiled.prepare()
        except BaseException:
            engine.close()
            raise
        return engine

    def adopt(self) -> Kept | None:
        """What was kept of the program that a process before this one left running, by `keep_config`; None where
        there is none, or it was another kind of switch."""
        run = self._ports.adopted
        if run is None or self._pinned is None:
            return None
        found = kept(self._pinned.directory, run.program.info.id)
        if found is None or not found.fits(self.drop_port, self.cpu_port) or {ARENA, EVENTS} - set(run.maps):
            log.warning("program_not_taken_over", note="it forwards until a pipeline replaces it")
            return None
        return found

    def load_adopted(self, program: Program, left: Kept) -> CompiledEngine:
        """The engine of the program that `adopt` told of, with the entries that it has. Raises ArenaError, OSError."""
        run = self._ports.adopted
        assert run is not None
        engine = self._make(program, left)
        self._config = left.config
        if self._is_watched or left.traced:
            self._run(engine)  # the build that is wanted now; only who made a build can read what it traces
        else:
            self._lead(engine)
            self._ports.run(run.program, run.maps)  # ports that the other process had not come to yet
        self._take_charge(engine)
        log.info("tables_taken_over")
        return engine

    def keep_config(self, config: bytes) -> None:
        """What a process after this one gets from `adopt`: whatever names the program of the next `commit`."""
        self._config = config

    def commit(self, engine: CompiledEngine) -> None:
        """Puts an engine in charge of all ports, each frame meeting the one before or this one. Raises AttachError when
        an interface refuses it; then the one before stays in charge. OSError."""
        self._run(engine)
        self._take_charge(engine)

    def _make(self, program: Program, left: Kept | None) -> CompiledEngine:
        run = self._ports.adopted
        ingress = self._ports.ingress
        return CompiledEngine(
            program,
            frames=self._send,
            digests=self._digest,
            drop_port=self.drop_port,
            cpu_port=self.cpu_port,
            port_maps=PortMaps(ingress.near.fd, ingress.far.fd, self._ports.devmap.fd),
            clock=self._clock,
            idle=self._idle,
            left=None if left is None or run is None else _left(run.maps),
        )

    def _run(self, engine: CompiledEngine) -> None:
        build = self._build(engine)
        if self._pinned is not None:
            keep(
                self._pinned.directory,
                build.info.id,
                Kept(self._config, self.drop_port, self.cpu_port, self._is_traced),
            )
        self._lead(engine)
        try:
            self._ports.run(build, engine.compiled.maps)
        except BaseException:
            if self._engine is not None:
                self._lead(self._engine)
            raise
        if self._pinned is not None:
            forget_others(self._pinned.directory, build.info.id)

    def _build(self, engine: CompiledEngine) -> bpf.Program:
        """The build for the ports. One that traces is larger, and may be too much where the other is not."""
        self._is_traced = False
        if self._is_watched:
            try:
                build = engine.compiled.build(trace=True)
            except UnsupportedProgram as error:
                log.warning("program_not_traced", reason=str(error))
            else:
                self._is_traced = True
                return build
        return engine.compiled.build()

    def _lead(self, engine: CompiledEngine) -> None:
        """The engine's replicas go where the ports are, now and from now on."""

        def connect() -> None:
            devices = self._ports.devices
            engine.connect(devices, trace=self._is_traced)
            generic = [number for number in devices if self._ports.mode(number) is not XdpMode.NATIVE]
            if engine.multicasts and generic != self._generic:
                self._generic = generic
                log.warning(
                    "ports_without_multicast",
                    note="frames that arrive there are not multicast: generic XDP does not tell egress of which packet "
                    "a copy is (--engine interpreter multicasts on any port)",
                    ports=generic,
                )

        connect()
        self._ports.on_devices = connect

    def _take_charge(self, engine: CompiledEngine) -> None:
        before, self._engine = self._engine, engine
        if before is not None and before is not engine:
            self._unwatch(before)
            before.drain()
        engine.watch(self._tracer, self._tap)
        if self._loop is not None:
            self._watch(engine)
        self._sweeper.sweep(self._loop, self._engine)

    def pause(self) -> None:
        """Lets all frames through to the packet sockets of an interpreter; `commit` ends that. Raises AttachError,
        OSError."""
        if self._engine is not None:
            self._ports.run(bpf.load_program(_LET_THROUGH, name="let_through", frags=True))
            self._unwatch(self._engine)
            self._engine = None
            self._sweeper.sweep(self._loop, None)
            self._ports.on_devices = None

    # --- watching ---------------------------------------------------------------------------------------------------

    @property
    def _is_watched(self) -> bool:
        return self._tap is not None or (self._tracer is not None and not self._tracer.exhausted)

    def set_tracer(self, tracer: Tracer | None) -> None:
        """Traces every frame from now on to `tracer`, by a build of the program that tells; None goes back to the build
        without a trace of it, which also happens at the tracer's limit."""
        self._tracer = tracer
        if self._engine is not None:
            self._engine.watch(tracer, self._tap)
            self._run(self._engine)

    def _watch(self, engine: CompiledEngine) -> None:
        assert self._loop is not None
        self._loop.add_reader(engine.compiled.ring.fileno(), self._drain, engine)

    def _unwatch(self, engine: CompiledEngine) -> None:
        if self._loop is not None:
            self._loop.remove_reader(engine.compiled.ring.fileno())

    def _drain(self, engine: CompiledEngine) -> None:
        engine.drain()
        if self._tracer is not None and self._tracer.exhausted:
            self.set_tracer(None)

    # --- frames -----------------------------------------------------------------------------------------------------

    def inject(self, port: int, frame: bytes) -> None:
        """Runs a frame as if it had arrived on `port`: a PacketOut on the CPU port (packet_out header first), or for a
        test on any port. Nothing happens before the first `commit`."""
        if self._engine is not None:
            self._engine.process(port, frame)

    def _send(self, port: int, frame: bytes) -> None:
        if port == self.cpu_port:
            if self.on_cpu_frame is not None:
                self.on_cpu_frame(frame)
        elif not self._sender.send(port, frame):
            self.unknown_port_drops += 1

    def _digest(self, name: str, values: tuple[int, ...]) -> None:
        if self.on_digest is not None:
            self.on_digest(name, values)

    def _idle(self, table: str, key: EntryKey) -> None:
        if self.on_idle is not None:
            self.on_idle(table, key)

    # --- running ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Follows the interfaces and reads what the program tells, on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._ports.start()
        if self._engine is not None:
            self._watch(self._engine)
        self._sweeper.sweep(self._loop, self._engine)

    def stop(self, *, leave_running: bool = False) -> None:
        """Takes the program off the ports and removes what is pinned, or leaves all that as it is. Once."""
        if self._engine is not None:
            self._unwatch(self._engine)
            self._engine.drain()
        self._loop = None
        self._sweeper.sweep(self._loop, self._engine)
        self._ports.stop(leave_running=leave_running)
        self._sender.close()
        if self._tap is not None:
            self._tap.close()


def _left(maps: Mapping[str, bpf.Map]) -> Left:
    return Left(maps[ARENA], maps[EVENTS], maps.get(SETS))
