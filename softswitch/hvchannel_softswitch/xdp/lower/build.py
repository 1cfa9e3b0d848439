# SPDX-License-Identifier: Apache-2.0
"""What can be compiled of a program, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from llvmlite import ir

from hvchannel_softswitch.model.program import Conditional
from hvchannel_softswitch.xdp.lower.notes import Notes

SENT = 1 << 16
"""A probe's result for a frame that is sent: this, and the port; `TO_CPU` for the CPU port, whose number may have more
bits."""

TO_CPU = SENT - 1

MULTICAST = 1 << 17
"""A probe's result for a frame that is replicated: this, and the group."""

PROBE_METADATA = 16
"""Bytes in front of a probe's frame: u64 port, u64 the time in nanoseconds; of a replica's probe, u64 port, u64
instance."""

PROBE_PADDING = 14
"""Bytes behind a probe's frame that are not its own: the kernel runs none that is shorter than an Ethernet header, and
lets none become shorter."""


class Role(StrEnum):
    """Which part of the way of a packet."""

    WHOLE = "whole"
    """All of it, of a packet that is multicast as far as the end of ingress."""
    REPLICA = "replica"
    """From there on, for one replica: runs where a devmap sends it."""
    CPU_REPLICA = "replica for the CPU port"
    """The same for the replica that goes to the CPU port, wherever it is run."""


@dataclass(frozen=True, slots=True)
class Build:
    """What to compile. `probe`: to be run on single frames, each with its port and time in front of it, and whose
    result says where the frame goes, instead of on a port. `trace`: tells each packet's way."""

    drop_port: int
    cpu_port: int | None
    probe: bool = False
    trace: bool = False
    role: Role = Role.WHOLE


@dataclass(frozen=True, slots=True)
class Lowered:
    """The IR, what its lines are about (see `notes`), and the conditions in the order in which a trace numbers them."""

    module: ir.Module
    notes: Notes
    conditions: tuple[Conditional, ...]
