# SPDX-License-Identifier: Apache-2.0
"""What is between and around the pipelines of a program that replicates packets: multicast groups, clone
sessions, and the queue of passes that one arriving frame leads to."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias

import structlog

from hvchannel_softswitch.engine import CloneSession, Replica

MAX_PASSES = 4096
"""Passes of a pipeline that one arriving frame may lead to, its copies' included; the rest is dropped. bmv2 has no
bound, so there a program that recirculates for ever never ends."""

OVERRUNS_LOGGED = 10
"""After so many frames that reached the bound, further ones are counted in silence."""

NORMAL, INGRESS_CLONE, EGRESS_CLONE, RECIRCULATED, REPLICATED, RESUBMITTED = 0, 1, 2, 4, 5, 6
"""Values of instance_type (behavioral-model's docs/simple_switch.md)."""

Pass: TypeAlias = Callable[..., object]
Jobs: TypeAlias = deque[tuple[Pass, tuple[Any, ...]]]
"""The passes to come: a generated function, and what to call it with after the jobs."""

log = structlog.get_logger(__name__)


class Traffic:
    """The groups and sessions of one engine; `overruns` counts the frames that reached MAX_PASSES."""

    def __init__(self) -> None:
        self.groups: dict[int, tuple[Replica, ...]] = {}
        self.sessions: dict[int, CloneSession] = {}
        self.overruns = 0

    def process(self, ingress: Pass) -> Callable[[int, bytes], None]:
        """The function that runs a frame from its arrival to the end of all its copies, first come first
        served."""

        def process(port: int, frame: bytes) -> None:
            jobs: Jobs = deque()
            ingress(jobs, port, frame, NORMAL, 0, ())
            left = MAX_PASSES
            while jobs:
                left -= 1
                if not left:
                    self._overrun(port, frame, len(jobs))
                    return
                run, arguments = jobs.popleft()
                run(jobs, *arguments)

        return process

    def _overrun(self, port: int, frame: bytes, dropped: int) -> None:
        self.overruns += 1
        if self.overruns <= OVERRUNS_LOGGED:
            log.warning(
                "clones_dropped",
                note="a frame is clones and passes without end",
                port=port,
                frame=frame.hex(),
                passes=MAX_PASSES,
                dropped=dropped,
            )
