# SPDX-License-Identifier: Apache-2.0
"""A lab's directory on disk: made, emptied of an earlier lab, never of anything else."""

from __future__ import annotations

import shutil
from pathlib import Path

from hvchannel_lab.supervisor import PROCESSES_FILE
from hvchannel_lab.topology import TOPOLOGY_FILE, Topology, TopologyError

UP_FILE = "up"  # exists while the lab is up and its VMs have been reached
_OWN_FOLDERS = ("host", "hv[0-9]*", "vm[0-9]*", "cp")
_OWN_FILES = ("feed.db*", TOPOLOGY_FILE, f".{TOPOLOGY_FILE}", PROCESSES_FILE, f".{PROCESSES_FILE}", UP_FILE)


def prepare(topology: Topology, keep: bool = False) -> None:
    """The directory with `topology.json` in it. `keep`: the leases, feed and documents of the lab before
    stay.

    Raises TopologyError for a directory with other things in it, OSError.
    """
    state = topology.state
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    foreign = [path.name for path in state.iterdir() if not _is_own(path)]
    if foreign and not (state / TOPOLOGY_FILE).exists():
        raise TopologyError(
            f"state directory {state} is not a lab's (it holds {foreign[0]!r}); choose another by --state"
        )
    if not keep:
        for path in state.iterdir():
            if path.is_dir() and _is_own(path):
                shutil.rmtree(path)
            elif _is_own(path):
                path.unlink()
    (state / UP_FILE).unlink(missing_ok=True)
    topology.save()


def _is_own(path: Path) -> bool:
    return any(path.match(pattern) for pattern in (*_OWN_FOLDERS, *_OWN_FILES))
