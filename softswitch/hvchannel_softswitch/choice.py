# SPDX-License-Identifier: Apache-2.0
"""A switch that runs each program on the fastest engine that takes it: in the kernel, or else by interpretation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import structlog

from hvchannel_softswitch.engine import EntryKey, IdleSink
from hvchannel_softswitch.interpreter import Interpreter
from hvchannel_softswitch.model import Program, UnsupportedProgram
from hvchannel_softswitch.ports import PortState
from hvchannel_softswitch.switch import Switch
from hvchannel_softswitch.trace import Tracer
from hvchannel_softswitch.xdp.frames import CompiledEngine
from hvchannel_softswitch.xdp.kept import Kept
from hvchannel_softswitch.xdp.switch import XdpSwitch

AnyEngine: TypeAlias = Interpreter | CompiledEngine

log = structlog.get_logger(__name__)


class ChoosingSwitch:
    """An XdpSwitch, and a Switch beside it once some program needs one. While the latter is in charge, the kernel
    lets the ports' frames through to it."""

    def __init__(self, kernel: XdpSwitch, interpreting: Callable[[], Switch]) -> None:
        """`interpreting` makes a switch with the same ports."""
        self._kernel = kernel
        self._make = interpreting
        self._interpreting: Switch | None = None
        self._is_interpreted = False
        self._is_started = False
        self._tracer: Tracer | None = None
        self.on_cpu_frame: Callable[[bytes], None] | None = None
        self.on_digest: Callable[[str, tuple[int, ...]], None] | None = None
        self.on_idle: IdleSink | None = None
        kernel.on_cpu_frame, kernel.on_digest, kernel.on_idle = self._cpu_frame, self._digest, self._idle

    @property
    def cpu_port(self) -> int | None:
        """See Switch."""
        return self._kernel.cpu_port

    @property
    def ports(self) -> dict[int, str]:
        """The interfaces' names by port."""
        return self._kernel.ports

    @property
    def engine(self) -> AnyEngine | None:
        """See Switch."""
        return (self._interpreter() if self._is_interpreted else self._kernel).engine

    def port_states(self) -> dict[int, PortState]:
        """See Switch."""
        return (self._interpreter() if self._is_interpreted else self._kernel).port_states()

    def load(self, program: Program) -> AnyEngine:
        """See Switch. One log line says why a program is not run in the kernel."""
        try:
            return self._kernel.load(program)
        except UnsupportedProgram as error:
            log.warning("program_interpreted", note="the XDP engine does not take it", reason=str(error))
            return self._interpreter().load(program)

    def commit(self, engine: AnyEngine) -> None:
        """See Switch."""
        if isinstance(engine, CompiledEngine):
            self._kernel.commit(engine)
            if self._is_interpreted and self._is_started:
                self._interpreter().stop()
            self._is_interpreted = False
            return
        switch = self._interpreter()
        switch.commit(engine)
        if not self._is_interpreted:
            self._kernel.pause()
            if self._is_started:
                switch.start()
        self._is_interpreted = True

    def adopt(self) -> Kept | None:
        """See XdpSwitch."""
        return self._kernel.adopt()

    def load_adopted(self, program: Program, left: Kept) -> AnyEngine:
        """See XdpSwitch."""
        return self._kernel.load_adopted(program, left)

    def keep_config(self, config: bytes) -> None:
        """See XdpSwitch."""
        self._kernel.keep_config(config)

    def set_tracer(self, tracer: Tracer | None) -> None:
        """See Switch."""
        self._tracer = tracer
        self._kernel.set_tracer(tracer)
        if self._interpreting is not None:
            self._interpreting.set_tracer(tracer)

    def inject(self, port: int, frame: bytes) -> None:
        """See Switch."""
        (self._interpreter() if self._is_interpreted else self._kernel).inject(port, frame)

    def start(self) -> None:
        """See Switch."""
        self._is_started = True
        self._kernel.start()
        if self._is_interpreted:
            self._interpreter().start()

    def stop(self) -> None:
        """See XdpSwitch."""
        self._kernel.stop()
        if self._is_interpreted and self._is_started:
            self._interpreter().stop()

    def _interpreter(self) -> Switch:
        if self._interpreting is None:
            switch = self._interpreting = self._make()
            switch.on_cpu_frame, switch.on_digest, switch.on_idle = self._cpu_frame, self._digest, self._idle
            switch.set_tracer(self._tracer)
        return self._interpreting

    def _cpu_frame(self, frame: bytes) -> None:
        if self.on_cpu_frame is not None:
            self.on_cpu_frame(frame)

    def _digest(self, name: str, values: tuple[int, ...]) -> None:
        if self.on_digest is not None:
            self.on_digest(name, values)

    def _idle(self, table: str, key: EntryKey) -> None:
        if self.on_idle is not None:
            self.on_idle(table, key)
