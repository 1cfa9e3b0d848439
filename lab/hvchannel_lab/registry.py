# SPDX-License-Identifier: Apache-2.0
"""Which labs run on this machine, and what labs that were killed left behind.

One file per lab in /run/hvchannel, written before the lab creates anything. It names the owning process by
pid *and* start time, so that a pid which the kernel gave to somebody else is not taken for the owner.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import structlog

from hvchannel_lab import namespaces, pinned

_log = structlog.stdlib.get_logger("lab")

RUN = Path("/run/hvchannel")
DEFAULT_LAB = "lab"


class LabRunsError(RuntimeError):
    """A lab of that name is up already."""


class NoSuchLabError(LookupError):
    """No lab of that name is up; the message names those that are."""


@dataclass(frozen=True)
class Process:
    """A process, told from any later one of the same pid by its start (clock ticks since boot, proc(5))."""

    pid: int
    start_time: int

    @staticmethod
    def of(pid: int) -> Process:
        """Raises ProcessLookupError."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            raise ProcessLookupError(f"no process {pid}") from None
        # The second field, the name in parentheses, may hold blanks and parentheses itself.
        fields = stat.rpartition(")")[2].split()
        if fields[0] in "ZX":
            raise ProcessLookupError(f"process {pid} has ended")
        return Process(pid, int(fields[19]))

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        try:
            return Process.of(self.pid) == self
        except ProcessLookupError:
            return False


@dataclass(frozen=True)
class Record:
    """A lab that was started, whether or not its owner still lives."""

    lab: str
    state: Path
    owner: Process


def _file(lab: str) -> Path:
    return RUN / f"{lab}.json"


@contextmanager
def _locked() -> Iterator[None]:
    RUN.mkdir(mode=0o755, exist_ok=True)
    descriptor = os.open(RUN / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _read(lab: str) -> Record | None:
    try:
        content = json.loads(_file(lab).read_bytes())
        return Record(content["lab"], Path(content["state"]), Process(**content["owner"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None  # never there, or cut off when its writer was killed: nobody owns it


def claim(lab: str, state: Path) -> None:
    """Makes this process the owner of a lab. Raises LabRunsError when another one is."""
    with _locked():
        found = _read(lab)
        if found and found.owner.alive:
            raise LabRunsError(
                f"lab {lab!r} is up already (process {found.owner.pid}, state in {found.state}); "
                f"`hvchannel down --name {lab}` ends it, --name starts another beside it"
            )
        record = {"lab": lab, "state": str(state.absolute()), "owner": asdict(Process.of(os.getpid()))}
        partial = RUN / f".{lab}"
        partial.write_text(json.dumps(record) + "\n", encoding="utf-8")
        partial.replace(_file(lab))


def release(lab: str) -> None:
    """To be called when nothing of the lab is left."""
    _file(lab).unlink(missing_ok=True)


def running() -> list[Record]:
    """Labs whose owner lives, by name."""
    labs = sorted(path.stem for path in RUN.glob("*.json"))
    return [record for record in map(_read, labs) if record and record.owner.alive]


def find(lab: str) -> Record:
    """The running lab of that name. Raises NoSuchLabError."""
    up = running()
    for record in up:
        if record.lab == lab:
            return record
    others = f"up: {', '.join(record.lab for record in up)}" if up else "none is"
    raise NoSuchLabError(f"no lab {lab!r} is up ({others}); `hvchannel up --name {lab}` starts it")


@dataclass
class Leftovers:
    """What a lab left whose owner is gone: network namespaces, and vSwitches that still forward, by their names."""

    namespaces: list[str] = field(default_factory=list)
    switches: list[str] = field(default_factory=list)


def leftovers() -> dict[str, Leftovers]:
    """By lab, of labs whose owner is gone. One that left only its record has nothing else."""
    from hvchannel_lab.topology import lab_of_namespace  # noqa: PLC0415 (pydantic is slow to import)

    alive = {record.lab for record in running()}
    found = {path.stem: Leftovers() for path in RUN.glob("*.json") if path.stem not in alive}
    for namespace in namespaces.existing():
        lab = lab_of_namespace(namespace)
        if lab and lab not in alive:
            found.setdefault(lab, Leftovers()).namespaces.append(namespace)
    for switch in pinned.names():
        lab = lab_of_namespace(switch)  # they bear the names of their namespaces
        if lab and lab not in alive:
            found.setdefault(lab, Leftovers()).switches.append(switch)
    return found


def sweep() -> dict[str, Leftovers]:
    """Removes what `leftovers` finds, and returns it. What cannot be removed now, because a process of it is still on
    its way out, is left to the next sweep: it is in nobody's way.

    Processes need no sweeping: the kernel killed them with their lab.
    """
    from hvchannel_lab.network import remove_namespace  # noqa: PLC0415

    # A lab claims its name before it creates anything, so what is nobody's now stays nobody's.
    with _locked():
        found = leftovers()
        for lab, left in list(found.items()):
            try:
                pinned.end(left.switches)
                for namespace in left.namespaces:
                    remove_namespace(namespace)
            except OSError as error:
                _log.warning("leftovers_stay", lab=lab, error=str(error))
                del found[lab]
                continue
            release(lab)
    return found
