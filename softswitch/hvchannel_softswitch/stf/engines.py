# SPDX-License-Identifier: Apache-2.0
"""What tests can be played on."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum
from typing import TypeAlias

from hvchannel_softswitch.engine import FrameSink
from hvchannel_softswitch.interpreter import Interpreter
from hvchannel_softswitch.model import Program
from hvchannel_softswitch.xdp.frames import CompiledEngine

AnyEngine: TypeAlias = Interpreter | CompiledEngine

DROP_PORT = 511
"""simple_switch's default."""


class StfEngine(StrEnum):
    """By the names of `softswitch --engine`."""

    INTERPRETER = "interpreter"
    XDP = "xdp"


def engine_of(kind: StfEngine, program: Program, frames: FrameSink) -> AnyEngine:
    """A new engine, which discards digests. Raises UnsupportedProgram for a program that is not in its subset, OSError
    where the kernel does not let this process run programs."""
    clock: Callable[[], int] = time.monotonic_ns
    if kind is StfEngine.INTERPRETER:
        return Interpreter(program, frames=frames, digests=_discard, drop_port=DROP_PORT, clock=clock)
    engine = CompiledEngine(program, frames=frames, digests=_discard, drop_port=DROP_PORT, clock=clock)
    try:
        engine.compiled.build(probe=True)
    except BaseException:
        engine.close()
        raise
    return engine


def _discard(_name: str, _values: tuple[int, ...]) -> None:
    pass
