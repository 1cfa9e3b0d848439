# SPDX-License-Identifier: Apache-2.0
"""The generated source, compiled, with everything it calls in its globals."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import structlog

from hvchannel_softswitch.engine import DigestSink, FrameSink
from hvchannel_softswitch.interpreter.features import replicates
from hvchannel_softswitch.interpreter.generate import generate
from hvchannel_softswitch.interpreter.hashes import algorithm
from hvchannel_softswitch.interpreter.names import identifiers
from hvchannel_softswitch.interpreter.profiles import NOTHING
from hvchannel_softswitch.interpreter.runtime import RUNTIME
from hvchannel_softswitch.interpreter.state import State
from hvchannel_softswitch.messages import check_failed, log_message
from hvchannel_softswitch.model import Program, UnsupportedProgram
from hvchannel_softswitch.trace import Tracer

log = structlog.get_logger(__name__)

Process: TypeAlias = Callable[[int, bytes], None]
"""Runs a frame that arrived on a port to its end."""

STOPS_LOGGED = 10
"""After so many loops that had to be stopped, further ones are counted in silence."""


@dataclass(frozen=True, slots=True)
class Sinks:
    """Where frames and digests go."""

    frames: FrameSink
    digests: DigestSink


class Code:
    """Compiles a program for its state. `stopped_loops` counts the loops in actions that would not end."""

    def __init__(
        self, program: Program, state: State, sinks: Sinks, *, drop_port: int, clock: Callable[[], int]
    ) -> None:
        self.stopped_loops = 0
        self._program = program
        self._traffic = state.traffic
        self._drop_port = drop_port
        self._globals = self._make_globals(state, sinks, clock)

    def source(self, *, trace: bool) -> str:
        """See `generate`."""
        return generate(self._program, drop_port=self._drop_port, trace=trace)

    def compile(self, tracer: Tracer | None) -> Process:
        """The code as a function, with calls of the tracer if there is one. Raises UnsupportedProgram for an
        expression that Python would not take."""
        name = self._program.name or "program"
        try:
            code = compile(self.source(trace=tracer is not None), f"<{name}>", "exec")
        except (SyntaxError, RecursionError, MemoryError) as error:
            raise UnsupportedProgram(
                f"program {self._program.name!r}: an expression is nested too deeply ({error}); "
                "supported: 100 levels"
            ) from error
        space = {**self._globals, "trace": tracer}
        exec(code, space)  # noqa: S102 (our own output)
        if replicates(self._program):
            return self._traffic.process(space["ingress"])
        process: Process = space["process"]
        return process

    def _make_globals(self, state: State, sinks: Sinks, clock: Callable[[], int]) -> dict[str, Any]:
        names = identifiers(self._program)
        space: dict[str, Any] = {
            **RUNTIME,
            "from_bytes": int.from_bytes,
            "now": clock,
            "started": state.started,
            "send": sinks.frames,
            "digests": sinks.digests,
            "log_message": log_message,
            "check_failed": check_failed,
            "loop_stopped": self._loop_stopped,
            "random_number": random.randint,
            "nothing": NOTHING,
            "groups": state.traffic.groups,
            "sessions": state.traffic.sessions,
        }
        for name, calculation in self._program.calculations.items():
            space[f"hash_{names[name]}"] = algorithm(calculation.algorithm)
        for name, table in state.tables.items():
            space[f"table_{names[name]}"] = table
            space[f"find_{names[name]}"] = table.find
        by_prefix: dict[str, dict[str, Any]] = {
            "counter": {**state.counters},
            "meter": {**state.meters},
            "register": {**state.registers},
            "value_set": {**state.value_sets},
        }
        for prefix, objects in by_prefix.items():
            space |= {f"{prefix}_{names[name]}": thing for name, thing in objects.items()}
        return space

    def _loop_stopped(self) -> None:
        self.stopped_loops += 1
        if self.stopped_loops <= STOPS_LOGGED:
            log.warning("loop_left", note="a loop in an action would not end", program=self._program.name)
