# SPDX-License-Identifier: Apache-2.0
"""What the server asks of the switch it stands in front of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol

from hvchannel_softswitch.engine import DigestSink, Engine, IdleSink
from hvchannel_softswitch.model import Program, UnsupportedProgram
from hvchannel_softswitch.p4runtime.errors import Code, P4RuntimeError
from hvchannel_softswitch.switch import DataPath, E


@dataclass(frozen=True, slots=True)
class Loaded:
    """A program built but not running: its engine takes writes at once, frames only after `commit()`."""

    engine: Engine
    commit: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Sinks:
    """What the data path tells: each frame sent to the CPU port, each digest's learn list and values, each entry
    that was idle for its whole timeout."""

    frames: Callable[[bytes], None]
    digests: DigestSink
    idle: IdleSink


class Device(Protocol):
    """The data path, with a CPU port when it has one."""

    @property
    def cpu_port(self) -> int | None:
        """The port number of the controller, or None for a switch without packet I/O."""

    def load(self, program: Program, config: bytes = b"") -> Loaded:
        """Builds an engine for the program, its const entries in place. `config` names the program to a process after
        this one, once it is committed. Raises UnsupportedProgram."""

    def left(self) -> bytes | None:
        """The config of the program that a process before this one left running; None where there is none."""

    def take_over(self, program: Program) -> Loaded:
        """The engine of the program that was left running, with all its entries; it is committed already."""

    def inject(self, frame: bytes) -> None:
        """Runs a frame that arrives on the CPU port. Raises UNIMPLEMENTED where a program on the ports is as much as
        the kernel takes."""

    def subscribe(self, sinks: Sinks) -> None:
        """From now on these are told."""


class SwitchDevice(Generic[E]):
    """A `Switch`, or another data path, as the server's Device."""

    def __init__(self, switch: DataPath[E]) -> None:
        self._switch = switch

    @property
    def cpu_port(self) -> int | None:
        """The switch's own."""
        return self._switch.cpu_port

    def load(self, program: Program, config: bytes = b"") -> Loaded:
        """See Device."""
        engine = self._switch.load(program)

        def commit() -> None:
            self._switch.keep_config(config)
            self._switch.commit(engine)

        return Loaded(engine, commit)

    def left(self) -> bytes | None:
        """See Device."""
        kept = self._switch.adopt()
        return None if kept is None else kept.config

    def take_over(self, program: Program) -> Loaded:
        """See Device."""
        kept = self._switch.adopt()
        assert kept is not None, "there is something left"
        engine = self._switch.load_adopted(program, kept)
        return Loaded(engine, lambda: None)

    def inject(self, frame: bytes) -> None:
        """See Device."""
        assert self._switch.cpu_port is not None
        try:
            self._switch.inject(self._switch.cpu_port, frame)
        except UnsupportedProgram as error:
            raise P4RuntimeError(Code.UNIMPLEMENTED, f"a packet-out cannot be run: {error}") from error

    def subscribe(self, sinks: Sinks) -> None:
        """See Device."""
        self._switch.on_cpu_frame = sinks.frames
        self._switch.on_digest = sinks.digests
        self._switch.on_idle = sinks.idle
