# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from pathlib import Path

import pytest
from hvchannel_lab import state_directory
from hvchannel_lab.topology import Topology, TopologyError

MakeTopology = Callable[..., Topology]


def lived_in(topology: Topology) -> list[Path]:
    """What a lab leaves in its directory."""
    state_directory.prepare(topology)
    left = [topology.feed, topology.trace_file("host"), topology.folder("vm1") / "guestd" / "store.db"]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("from before")
    (topology.state / state_directory.UP_FILE).touch()
    return left


def test_a_lab_starts_afresh(make_topology: MakeTopology) -> None:
    topology = make_topology()
    left = lived_in(topology)
    state_directory.prepare(topology)
    assert [path for path in left if path.exists()] == []
    assert Topology.load(topology.state) == topology


def test_or_from_what_the_one_before_left(make_topology: MakeTopology) -> None:
    topology = make_topology()
    left = lived_in(topology)
    state_directory.prepare(topology, keep=True)
    assert all(path.read_text() == "from before" for path in left)
    assert not (topology.state / state_directory.UP_FILE).exists()


def test_what_a_user_put_there_stays(make_topology: MakeTopology) -> None:
    topology = make_topology()
    lived_in(topology)
    note = topology.state / "notes.txt"
    note.write_text("mine")
    state_directory.prepare(topology)
    assert note.read_text() == "mine"


def test_a_directory_of_other_things_is_refused(make_topology: MakeTopology) -> None:
    topology = make_topology()
    (topology.state / "notes.txt").write_text("mine")
    with pytest.raises(TopologyError, match=r"is not a lab's \(it holds 'notes.txt'\)"):
        state_directory.prepare(topology)
    assert not (topology.state / "topology.json").exists()
