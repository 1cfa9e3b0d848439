# SPDX-License-Identifier: Apache-2.0
"""Where a lab's programs tell of themselves: health, log level, metrics."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from hvchannel_lab.handle import Handle
from hvchannel_lab.supervisor import Program
from hvchannel_lab.topology import TopologyError


def observed(program: Program, socket: Path) -> Program:
    """The program, serving its metrics beside its log too. `socket`: where it answers about itself."""
    metrics = program.log.with_name(f"{program.name}.metrics.sock")
    argv = (*program.argv, "--metrics", f"unix:{metrics}")
    return replace(program, argv=argv, socket=socket, metrics=metrics)


@dataclass(frozen=True)
class Observed:
    """A program of a lab that is up."""

    name: str
    socket: Path
    metrics: Path


def programs(handle: Handle, name: str | None = None) -> list[Observed]:
    """Those that tell of themselves, or the named one. Raises TopologyError with the valid names."""
    known = [
        Observed(name, Path(recorded["socket"]), Path(recorded["metrics"]))
        for name, recorded in handle.processes().items()
        if recorded["socket"]
    ]
    if name is None:
        return known
    chosen = [program for program in known if program.name == name]
    if not chosen:
        valid = ", ".join(program.name for program in known)
        raise TopologyError(f"process {name!r} tells nothing of itself (valid: {valid})")
    return chosen
