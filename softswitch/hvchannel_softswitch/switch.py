# SPDX-License-Identifier: Apache-2.0
"""The switch: ports on one side, the engine that runs the program on the other, all on one asyncio loop.

    switch = Switch([AfPacketPort(1, "veth0"), AfPacketPort(2, "veth1")], cpu_port=510)
    engine = switch.load(model.load(json_text))   # built, checked, not yet running
    switch.commit(engine)                         # swapped in between two frames
    switch.start()                                # needs a running loop
    ...
    switch.stop()

Everything here runs on the loop's thread, and so does the P4Runtime server, each of whose calls runs whole (see `rpc`):
nothing needs a lock, and a frame never sees half of a `commit`, or of a batch of writes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

import structlog

from hvchannel_softswitch.engine import Engine, EntryKey, IdleSink
from hvchannel_softswitch.interpreter import Interpreter
from hvchannel_softswitch.model import Program
from hvchannel_softswitch.ports import Port, PortDown, PortState
from hvchannel_softswitch.sweeper import Sweeper
from hvchannel_softswitch.trace import Tracer

DROP_PORT = 511
"""simple_switch's default: the egress_spec that drops."""

BATCH = 32
"""Frames taken from one port per wake-up: at some 50 us a frame, P4Runtime on the same loop waits 2 ms at most. For
the other way round see `rpc.turns`."""

FEW = 2
"""What is left of `BATCH` to a port that has more waiting each time: a frame of another port waits for so many of its
frames, however fast it is flooded."""

RETRY_SECONDS = 0.25
"""How often a vanished interface is looked for."""

log = structlog.get_logger(__name__)


E = TypeVar("E", bound=Engine)


class Left(Protocol):
    """What a process before this one left: `config` as `keep_config` was given it."""

    @property
    def config(self) -> bytes:
        """Names the program that still runs."""


class DataPath(Protocol[E]):
    """What stands behind a P4Runtime server: a `Switch`, or one whose programs run elsewhere."""

    on_cpu_frame: Callable[[bytes], None] | None
    on_digest: Callable[[str, tuple[int, ...]], None] | None
    on_idle: IdleSink | None

    @property
    def cpu_port(self) -> int | None:
        """See Switch."""

    @property
    def ports(self) -> Mapping[int, object]:
        """By number."""

    @property
    def engine(self) -> Engine | None:
        """See Switch."""

    def port_states(self) -> dict[int, PortState]:
        """See Switch."""

    def load(self, program: Program) -> E:
        """See Switch."""

    def commit(self, engine: E) -> None:
        """See Switch."""

    def adopt(self) -> Left | None:
        """What a process before this one left running, and which can be taken over."""

    def load_adopted(self, program: Program, left: Any) -> E:
        """The engine of that."""

    def keep_config(self, config: bytes) -> None:
        """For a process after this one: names the program of the next `commit`."""

    def set_tracer(self, tracer: Tracer | None) -> None:
        """See Switch."""

    def inject(self, port: int, frame: bytes) -> None:
        """See Switch."""

    def start(self) -> None:
        """See Switch."""

    def stop(self) -> None:
        """See Switch."""


class Switch:
    """One switch: its ports by number, the engine in charge, the CPU port."""

    def __init__(
        self,
        ports: Iterable[Port],
        *,
        cpu_port: int | None = None,
        drop_port: int = DROP_PORT,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """`clock` gives nanoseconds and never goes back. Raises ValueError for two ports of one number, or
        one that is the CPU's or the drop port's."""
        self._ports: dict[int, Port] = {}
        for port in ports:
            self._add(port, cpu_port, drop_port)
        self.cpu_port = cpu_port
        self.drop_port = drop_port
        self.on_cpu_frame: Callable[[bytes], None] | None = None
        """Called with each frame that the program sends to the CPU port (packet_in header first)."""
        self.on_digest: Callable[[str, tuple[int, ...]], None] | None = None
        """Called with a learn list's name and values, once per digest."""
        self.on_idle: IdleSink | None = None
        """Called with a table and the key of an entry that has been idle for its timeout."""
        self.unknown_port_drops = 0
        """Frames the program sent to a port that is not there."""
        self._clock = clock
        self._engine: Interpreter | None = None
        self._tracer: Tracer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._retries: dict[int, asyncio.TimerHandle] = {}
        self._turns: dict[int, int] = {}  # by port, the frames of its next turn where that is not BATCH
        self._sweeper = Sweeper()

    def _add(self, port: Port, cpu_port: int | None, drop_port: int) -> None:
        if other := self._ports.get(port.number):
            raise ValueError(f"port {port.number} is given twice: {other.name} and {port.name}")
        if port.number in (cpu_port, drop_port):
            role = "CPU" if port.number == cpu_port else "drop"
            raise ValueError(f"port {port.number} of {port.name} is the {role} port; choose another number")
        self._ports[port.number] = port

    @property
    def ports(self) -> Mapping[int, Port]:
        """The ports by number."""
        return MappingProxyType(self._ports)

    def port_states(self) -> dict[int, PortState]:
        """How each port fares now."""
        return {
            number: PortState(port.name, port.is_open, port.statistics)
            for number, port in self._ports.items()
        }

    @property
    def engine(self) -> Interpreter | None:
        """The engine in charge; None until the first `commit`: until then every frame is dropped."""
        return self._engine

    def load(self, program: Program) -> Interpreter:
        """Builds an engine for the program, with its const entries and default actions in place. It does not
        run until `commit`, but can be written to. Raises UnsupportedProgram."""
        return Interpreter(
            program,
            frames=self._send,
            digests=self._digest,
            drop_port=self.drop_port,
            clock=self._clock,
            idle=self._idle,
        )

    def commit(self, engine: Interpreter) -> None:
        """Puts an engine of `load` in charge from the next frame on."""
        if self._engine is not None:
            self._engine.set_tracer(None)
        engine.set_tracer(self._tracer)
        self._engine = engine
        self._sweeper.sweep(self._loop, self._engine)

    def adopt(self) -> None:
        """An interpreter leaves nothing behind."""

    def load_adopted(self, program: Program, left: object) -> Interpreter:
        """See `adopt`."""
        raise AssertionError("nothing is left")

    def keep_config(self, config: bytes) -> None:
        """Nothing to be kept."""

    def set_tracer(self, tracer: Tracer | None) -> None:
        """Traces every frame from now on to `tracer`, across commits; None stops."""
        self._tracer = tracer
        if self._engine is not None:
            self._engine.set_tracer(tracer)

    def inject(self, port: int, frame: bytes) -> None:
        """Runs a frame as if it had arrived on `port`: a PacketOut on the CPU port (packet_out header
        first)."""
        if self._engine is not None:
            self._engine.process(port, frame)

    def start(self) -> None:
        """Opens the ports and serves them on the running loop. A port whose interface is missing is logged
        and looked for; it serves as soon as the interface is there."""
        self._loop = asyncio.get_running_loop()
        for port in self._ports.values():
            self._open(port)
        self._sweeper.sweep(self._loop, self._engine)

    def stop(self) -> None:
        """Closes the ports. A stopped switch can be started again; its engine keeps its entries."""
        for retry in self._retries.values():
            retry.cancel()
        self._retries.clear()
        for port in self._ports.values():
            self._close(port)
        self._loop = None
        self._sweeper.sweep(self._loop, self._engine)

    def _open(self, port: Port) -> None:
        assert self._loop is not None
        self._retries.pop(port.number, None)
        try:
            port.open()
        except PortDown as reason:
            self._wait_for(port, reason)
            return
        self._loop.add_reader(port.fileno(), self._drain, port)
        log.info("port_up", port=port.number, interface=port.name)

    def _close(self, port: Port) -> None:
        if port.is_open:
            assert self._loop is not None
            self._loop.remove_reader(port.fileno())
            port.close()

    def _wait_for(self, port: Port, reason: PortDown) -> None:
        log.warning(
            "port_down",
            note="waiting for its interface",
            port=port.number,
            interface=port.name,
            reason=str(reason),
        )
        self._retry_later(port)

    def _retry_later(self, port: Port) -> None:
        assert self._loop is not None
        self._retries[port.number] = self._loop.call_later(RETRY_SECONDS, self._retry, port)

    def _retry(self, port: Port) -> None:
        if port.is_there():
            self._open(port)
        else:
            self._retry_later(port)

    def _drain(self, port: Port) -> None:
        engine, number = self._engine, port.number
        turn = self._turns.pop(number, BATCH)
        try:
            frames = port.receive(turn)
        except PortDown as reason:
            self._close(port)
            self._wait_for(port, reason)
            return
        if len(frames) == turn:
            self._turns[number] = max(FEW, turn // 2)
        if engine is None:
            port.statistics.rx_dropped += len(frames)
            return
        for frame in frames:
            engine.process(number, frame)

    def _send(self, number: int, frame: bytes) -> None:
        port = self._ports.get(number)
        if port is not None:
            port.send(frame)
        elif number == self.cpu_port and self.on_cpu_frame is not None:
            self.on_cpu_frame(frame)
        else:
            self.unknown_port_drops += 1

    def _digest(self, name: str, values: tuple[int, ...]) -> None:
        if self.on_digest is not None:
            self.on_digest(name, values)

    def _idle(self, table: str, key: EntryKey) -> None:
        if self.on_idle is not None:
            self.on_idle(table, key)
