# SPDX-License-Identifier: Apache-2.0
"""A packet's way, in order, as simple_switch takes it: parser, ingress, digest, multicast or else egress, deparser,
out. A replica's begins at egress."""

from __future__ import annotations

from hvchannel_softswitch.model import Program
from hvchannel_softswitch.xdp.layout import Layout
from hvchannel_softswitch.xdp.lower.build import Build, Lowered, Role
from hvchannel_softswitch.xdp.lower.replicas import Replicas
from hvchannel_softswitch.xdp.lower.stages import Stages

_NORMAL, _REPLICATED = 0, 5
"""Values of instance_type."""


def lower(program: Program, place: Layout, build: Build) -> Lowered:
    """Raises UnsupportedProgram, naming the construct that is not in this engine's subset."""
    stages = Stages(program, place, build)
    replicas = Replicas(stages, place.replication) if place.replication is not None else None
    if build.role is Role.WHOLE:
        _whole(stages, replicas)
    else:
        assert replicas is not None, "the program multicasts"
        replicas.resume()
        stages.egress(_REPLICATED)
    stages.deparse()
    stages.send()
    stages.finish()
    conditions = stages.trace.conditions if stages.trace is not None else ()
    return Lowered(stages.frame.module, stages.notes, conditions)


def _whole(stages: Stages, replicas: Replicas | None) -> None:
    stages.begin()
    stages.parse()
    stages.ingress()
    if replicas is not None:
        replicas.leave()
    stages.unicast()
    if replicas is not None:
        replicas.unicast()
    stages.egress(_NORMAL)
