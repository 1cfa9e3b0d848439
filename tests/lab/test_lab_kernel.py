# SPDX-License-Identifier: Apache-2.0
"""vSwitches in the kernel: they forward while their process is dead, and end with their lab."""

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hvchannel_control.api import control_pb2 as control
from hvchannel_lab import journey, namespaces, pinned, registry
from hvchannel_lab.background import background_lab
from hvchannel_lab.handle import Handle
from hvchannel_lab.running_lab import RunningLab
from hvchannel_lab.supervisor import State
from hvchannel_lab.targets import Engine
from hvchannel_lab.topology import Topology

pytestmark = [pytest.mark.root, pytest.mark.e2e]

PINS = Path("/sys/fs/bpf/softswitch")


async def deliver(handle: Handle, key: str) -> None:
    revision = await asyncio.to_thread(handle.put, "vm1", key, key.encode())
    await asyncio.to_thread(handle.wait_acked, "vm1", key, revision, 60)
    assert await asyncio.to_thread(handle.read_in_guest, "vm1", key) == key.encode()


async def until(condition: Callable[[], object], what: str, seconds: float = 30) -> None:
    await asyncio.to_thread(Handle.until, lambda: condition() or None, what, seconds)


def status(handle: Handle, who: str) -> control.Status:
    return handle.control_status(who)


def left_of(topology: Topology) -> list[str]:
    """All that could outlive a lab: namespaces, what is pinned, what softswitch keeps for a successor."""
    mine = {topology.switch_name(who) for who in topology.whos}
    pins = {path.name for path in PINS.glob("*")}
    return [name for found in (namespaces.existing(), pinned.names(), pins) for name in mine & set(found)]


async def test_documents_get_through_while_a_switch_has_no_process_and_its_successor_changes_nothing(
    make_topology: Callable[..., Topology],
) -> None:
    topology = make_topology(vms=1).model_copy(update={"engine": Engine.XDP})
    handle = Handle(topology)
    async with RunningLab(topology) as lab:
        for who in topology.whos:
            part = f"{who}/softswitch"
            child = lab.supervisor.children[part]
            await deliver(handle, f"before-{who}")
            await until(lambda who=who: status(handle, who).in_sync, "the tables are as they should be")
            written = status(handle, who).writes
            forwarded = await asyncio.to_thread(lambda who=who: handle.verdicts(who)["forwarded"])

            with lab.supervisor.hold(part):
                killed = handle.kill(part, signal.SIGKILL)
                await until(lambda child=child: child.state is State.WAITING, f"{part} is dead")
                await until(lambda who=who: not status(handle, who).switch_connected, "the controller knows")
                await deliver(handle, f"without-{who}")
                assert not killed.alive and child.process is None

            await asyncio.to_thread(handle.wait_restarted, part, killed)
            await until(
                lambda who=who: status(handle, who).in_sync, "the controller has looked at the tables"
            )
            await deliver(handle, f"after-{who}")
            assert status(handle, who).writes == written
            # Counted by the kernel all the time: the entries are those of before.
            assert await asyncio.to_thread(lambda who=who: handle.verdicts(who)["forwarded"]) > forwarded
            log = child.program.log.read_text()
            assert "tables_taken_over" in log
            assert log.count("pipeline_committed") == 1
        assert len(left_of(topology)) == 3 * len(topology.whos), (
            "what is looked for below is there while it is up"
        )
    assert left_of(topology) == []


def program_at(handle: Handle, hop: str) -> int:
    """The number of the XDP program at a hop's interface."""
    found = handle.topology.hop(hop)
    shown = subprocess.run(
        ["ip", "-n", found.namespace, "-json", "link", "show", found.interface],
        check=True,
        capture_output=True,
    )
    (link,) = json.loads(shown.stdout)
    return int(link["xdp"]["prog"]["id"])


def test_at_the_end_of_the_trace_the_program_without_one_runs_and_a_restart_begins_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"t-lab-{os.getpid()}-lim"
    with background_lab(name, tmp_path / "s", 1, engine=Engine.XDP, trace_limit=300) as lab:
        tracing = program_at(lab, "host/vnic1")

        def more() -> int | None:
            lab.wait_acked("vm1", "more", lab.put("vm1", "more", bytes(50_000)))
            return program_at(lab, "host/vnic1") != tracing or None

        lab.until(more, "the program at the port is another")
        assert len(lab.trace("host")) == 300
        with monkeypatch.context() as patch, pytest.raises(journey.JourneyError) as caught:
            patch.setattr("hvchannel_lab.evidence._WITHIN", 0.2)
            journey.observe(lab)
        assert "element 3 cannot be shown" in str(caught.value)
        assert "`hvchannel restart host/softswitch` begins a new one" in str(caught.value)

        for number in (signal.SIGTERM, signal.SIGKILL):  # a fresh program, and one that is taken over
            for who in lab.topology.whos:
                lab.wait_restarted(f"{who}/softswitch", lab.kill(f"{who}/softswitch", number))
                lab.until(lambda who=who: lab.control_status(who).in_sync or None, "it is in charge again")
            shown = journey.observe(lab)
            assert [(len(one.there), len(one.back)) for one in shown] == [(10, 6)]


async def test_a_switch_that_waits_for_its_successor_ends_with_its_lab(
    make_topology: Callable[..., Topology],
) -> None:
    topology = make_topology(vms=1)
    handle = Handle(topology)
    async with RunningLab(topology) as lab:
        with lab.supervisor.hold("host/softswitch"), lab.supervisor.hold("vm1/softswitch"):
            for part in ("host/softswitch", "vm1/softswitch"):
                handle.kill(part)
                child = lab.supervisor.children[part]
                await until(lambda child=child: child.state is State.WAITING, f"{part} is dead")
            await asyncio.wait_for(lab.supervisor.stop(), 30)
        assert left_of(topology) != []
    assert left_of(topology) == []


async def test_a_vm_that_is_stopped_takes_its_switch_along(make_topology: Callable[..., Topology]) -> None:
    topology = make_topology(vms=1)
    handle = Handle(topology)
    async with RunningLab(topology) as lab:
        with lab.supervisor.hold("vm1/softswitch"):
            handle.kill("vm1/softswitch")
            child = lab.supervisor.children["vm1/softswitch"]
            await until(lambda: child.state is State.WAITING, "it is dead")
            await lab.vms[0].stop()
        assert topology.switch_name("vm1") not in left_of(topology)
        assert topology.switch_name("host") in left_of(topology)
        await lab.vms[0].start()
        await lab.vms[0].plug()
    assert left_of(topology) == []


def test_other_peoples_switches_are_left_alone(make_topology: Callable[..., Topology]) -> None:
    """Whatever the name, it is the lab's only if its namespaces are called so."""
    theirs = pinned.RUN / f"t-lab-{os.getpid()}-theirs"
    theirs.mkdir(parents=True)
    try:
        assert theirs.name in pinned.names()
        assert all(theirs.name not in left.switches for left in registry.leftovers().values())
        pinned.end([f"hvc-t-lab-{os.getpid()}-hv"])  # nothing was left of that: no error
    finally:
        theirs.rmdir()
