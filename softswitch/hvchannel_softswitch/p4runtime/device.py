# SPDX-License-Identifier: Apache-2.0
"""What the server asks of the switch it stands in front of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from hvchannel_softswitch.engine import DigestSink, Engine, IdleSink
from hvchannel_softswitch.model import Program
from hvchannel_softswitch.switch import Switch


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

    def load(self, program: Program) -> Loaded:
        """Builds an engine for the program, its const entries in place."""

    def inject(self, frame: bytes) -> None:
        """Runs a frame that arrives on the CPU port."""

    def subscribe(self, sinks: Sinks) -> None:
        """From now on these are told."""


class SwitchDevice:
    """A `Switch` as the server's Device."""

    def __init__(self, switch: Switch) -> None:
        self._switch = switch

    @property
    def cpu_port(self) -> int | None:
        """The switch's own."""
        return self._switch.cpu_port

    def load(self, program: Program) -> Loaded:
        """See Device."""
        engine = self._switch.load(program)
        return Loaded(engine, lambda: self._switch.commit(engine))

    def inject(self, frame: bytes) -> None:
        """See Device."""
        assert self._switch.cpu_port is not None
        self._switch.inject(self._switch.cpu_port, frame)

    def subscribe(self, sinks: Sinks) -> None:
        """See Device."""
        self._switch.on_cpu_frame = sinks.frames
        self._switch.on_digest = sinks.digests
        self._switch.on_idle = sinks.idle
