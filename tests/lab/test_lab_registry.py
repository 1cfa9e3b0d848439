# SPDX-License-Identifier: Apache-2.0
import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from hvchannel_lab import namespaces, network, registry
from hvchannel_lab.registry import LabRunsError, Leftovers, NoSuchLabError, Process
from hvchannel_lab.topology import Topology

pytestmark = pytest.mark.root
MakeTopology = Callable[..., Topology]

BRING_UP_AND_WAIT = """
import sys
from pathlib import Path
from hvchannel_lab import network, registry
from hvchannel_lab.topology import plan
topology = plan(sys.argv[1], Path(sys.argv[2]), 2)
registry.claim(topology.name, topology.state)
network.add_hypervisor(topology.hypervisor, topology.mtu)
for vm in topology.vms:
    network.add_vm(vm, topology)
    network.plug(vm, topology)
print("up", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def elsewhere(make_topology: MakeTopology) -> Iterator[tuple[Topology, subprocess.Popen[str]]]:
    """A lab (its network only) that another process owns."""
    topology = make_topology()
    process = subprocess.Popen(
        [sys.executable, "-c", BRING_UP_AND_WAIT, topology.name, str(topology.state)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        yield topology, process
        process.kill()
    for namespace in topology.namespaces:
        network.remove_namespace(namespace)
    registry.release(topology.name)


def mine(topology: Topology) -> set[str]:
    return set(topology.namespaces) & set(namespaces.existing())


def test_a_killed_labs_leftovers_are_found_and_removed(
    elsewhere: tuple[Topology, subprocess.Popen[str]],
) -> None:
    topology, process = elsewhere
    assert topology.name not in registry.leftovers()
    process.kill()
    process.wait()
    assert registry.leftovers()[topology.name] == Leftovers(sorted(topology.namespaces))
    assert registry.sweep()[topology.name] == Leftovers(sorted(topology.namespaces))
    assert not mine(topology)
    assert topology.name not in registry.leftovers()


def test_a_running_lab_is_left_alone(elsewhere: tuple[Topology, subprocess.Popen[str]]) -> None:
    topology, process = elsewhere
    assert topology.name not in registry.sweep()
    assert mine(topology) == set(topology.namespaces)
    assert registry.find(topology.name).owner == Process.of(process.pid)
    with pytest.raises(LabRunsError, match=rf"process {process.pid}.*hvchannel down --name {topology.name}"):
        registry.claim(topology.name, topology.state)


def test_a_pid_given_to_somebody_else_is_not_the_owner(make_topology: MakeTopology) -> None:
    topology = make_topology()
    registry.claim(topology.name, topology.state)
    try:
        record = registry.find(topology.name)
        assert record.owner.alive
        reused = dataclasses.replace(record.owner, start_time=record.owner.start_time - 1)
        assert not reused.alive
    finally:
        registry.release(topology.name)


def test_a_record_cut_off_belongs_to_nobody(make_topology: MakeTopology) -> None:
    topology = make_topology()
    registry.claim(topology.name, topology.state)
    path = registry.RUN / f"{topology.name}.json"
    path.write_text(path.read_text()[:20])
    assert registry.leftovers()[topology.name] == Leftovers()
    registry.sweep()
    assert not path.exists()


def test_no_such_lab_says_which_are_up_and_how_to_start_one() -> None:
    with pytest.raises(NoSuchLabError, match=r"no lab 't-lab-none' is up.*hvchannel up --name t-lab-none"):
        registry.find("t-lab-none")


def test_an_ended_process_is_not_alive() -> None:
    with subprocess.Popen(["sleep", "1000"]) as child:
        process = Process.of(child.pid)
        assert process.alive
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not process.alive, "a zombie runs no more"
    with pytest.raises(ProcessLookupError):
        Process.of(child.pid)


def test_a_process_with_blanks_and_parentheses_in_its_name(tmp_path: Path) -> None:
    program = tmp_path / "a (b) c"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "1000"]) as child:
        assert Process.of(child.pid).start_time >= Process.of(os.getpid()).start_time
        child.kill()


def test_a_leftover_that_cannot_be_removed_now_keeps_no_lab_from_starting(
    make_network: Callable[..., Topology], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when its vSwitch's process, killed, is still on its way out."""
    stuck, other = make_network("stuck", 1), make_network("other", 1)

    def end(switches: Iterable[str]) -> None:
        if stuck.namespaces[0] in namespaces.existing() and stuck.switch_name("host") in switches:
            raise OSError("it is a process's")

    left = {t.name: Leftovers(sorted(t.namespaces), [t.switch_name("host")]) for t in (stuck, other)}
    monkeypatch.setattr(registry, "leftovers", lambda: dict(left))
    monkeypatch.setattr(registry.pinned, "end", end)
    assert list(registry.sweep()) == [other.name]
    assert stuck.namespaces[0] in namespaces.existing()
    assert other.namespaces[0] not in namespaces.existing()
