# SPDX-License-Identifier: Apache-2.0
"""vSwitches in the kernel: they forward while their process is dead, and end with their lab."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from hvchannel_control.api import control_pb2 as control
from hvchannel_lab import namespaces, pinned, registry
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
            assert "took over the tables of the running program" in log
            assert log.count("pipeline committed") == 1
        assert len(left_of(topology)) == 3 * len(topology.whos), (
            "what is looked for below is there while it is up"
        )
    assert left_of(topology) == []


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
