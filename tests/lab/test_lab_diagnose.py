# SPDX-License-Identifier: Apache-2.0
"""`hvchannel diagnose` in a lab that is really broken, in one place after the other: it names the hop, and a remedy.

The vSwitches are interpreted: one whose process has ended forwards nothing.
"""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from hvchannel_control.client import ControlClient
from hvchannel_control.reconcile import Operation, Update
from hvchannel_daemons.diagnosis.evidence import Where, gather
from hvchannel_daemons.diagnosis.hops import Diagnosis
from hvchannel_daemons.diagnosis.walk import walk
from hvchannel_daemons.feed import open_feed
from hvchannel_lab.handle import Handle
from hvchannel_lab.namespaces import inside
from hvchannel_lab.running_lab import RunningLab
from hvchannel_lab.supervisor import Policy
from hvchannel_lab.targets import Engine, FeedEngine
from hvchannel_lab.threads import in_thread
from hvchannel_lab.topology import plan

from tests.control.test_control_vswitch import OtherHand
from tests.daemons import nats_servers

pytestmark = [pytest.mark.root, pytest.mark.e2e]

T = TypeVar("T")
VIF = "vm1"
SPEAKS_ANOTHER_VERSION = """
from hvchannel_daemons.channel import versions
versions.SPOKEN = versions.Versions(98, 99)
from hvchannel_daemons.guestd.main import main
main()
"""


class Patient:
    """A lab of one VM, and what is done to it."""

    def __init__(self, running: RunningLab, loop: asyncio.AbstractEventLoop) -> None:
        self.running = running
        self.loop = loop
        self.handle = Handle(running.topology)
        self.topology = running.topology
        self.supervisor = running.supervisor
        self.vm = running.vms[0]

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """In the lab's own thread, to which its processes belong."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def diagnosis(self) -> Diagnosis:
        topology = self.topology
        where = Where(
            open_feed=lambda: open_feed(topology.feed_at, create=False),
            feed_at=topology.feed_at,
            host="host",
            hostd_socket=topology.folder("host") / "hostd.sock",
            sockets=(topology.control_socket("host"),),
            guest_socket=topology.control_socket("vm1"),
        )

        def work() -> Diagnosis:
            with inside(topology.hypervisor.namespace):
                return walk(asyncio.run(gather(where, VIF)))

        return in_thread(work).result(60)

    def control(self) -> ControlClient:
        return ControlClient(self.topology.control_socket("host"))

    async def ip(self, where: str, *words: str) -> None:
        await asyncio.to_thread(self.handle.run_in, where, ["ip", *words], check=True)

    async def kill(self, name: str) -> None:
        self.handle.kill(name)

    @asynccontextmanager
    async def dead(self, *names: str) -> AsyncIterator[None]:
        """Killed, and not started again in the block."""
        held = [self.supervisor.hold(name) for name in names]
        for hold, name in zip(held, names, strict=True):
            hold.__enter__()
            self.handle.kill(name)
        try:
            yield
        finally:
            for hold in held:
                hold.__exit__(None, None, None)

    @asynccontextmanager
    async def attached_otherwise(self, **changes: Any) -> AsyncIterator[None]:
        vm = self.vm.spec
        await asyncio.to_thread(self._attach, **({"mac": vm.mac, "port": vm.host_port} | changes))
        try:
            yield
        finally:
            await asyncio.to_thread(self._attach, mac=vm.mac, port=vm.host_port)

    def _attach(self, mac: str, port: int) -> None:
        with self.control() as control:
            if any(vif.vif_id == VIF for vif in control.vifs()):
                control.detach(VIF)
            control.attach(VIF, mac, port)


Break = Callable[[Patient], AbstractAsyncContextManager[None]]
BREAKS: dict[str, tuple[Break, str, str, str]] = {}


def breaks(
    hop: str, evidence: str, remedy: str
) -> Callable[[Callable[[Patient], AsyncIterator[None]]], None]:
    """What the diagnosis says while the block of the decorated function lasts: patterns."""

    def register(function: Callable[[Patient], AsyncIterator[None]]) -> None:
        BREAKS[function.__name__] = asynccontextmanager(function), hop, evidence, remedy

    return register


@breaks("feed", "nats", "start its servers")
async def feed_away(lab: Patient) -> AsyncIterator[None]:
    async with lab.dead("host/nats"):
        yield


@breaks("hostd", "does not run: nobody answers", "start it: hostd --control")
async def hostd_dead(lab: Patient) -> AsyncIterator[None]:
    async with lab.dead("host/hostd"):
        yield


@breaks("hostd", "runs and hangs: no answer", "pkill -KILL hostd")
async def hostd_frozen(lab: Patient) -> AsyncIterator[None]:
    frozen = lab.handle.kill("host/hostd", signal.SIGSTOP)
    yield
    os.kill(frozen.pid, signal.SIGCONT)


@breaks("hostd", "attached here too, but hypervisor other serves it", "detach it there")
async def vif_contended(lab: Patient) -> AsyncIterator[None]:
    hostd = lab.supervisor.children["host/hostd"].program
    await lab.supervisor.stop(["host/hostd"])
    with elsewhere(lab):
        await lab.supervisor.start([hostd])
        yield


@contextmanager
def elsewhere(lab: Patient) -> Iterator[None]:
    """Another hypervisor has the VIF, in the block."""
    has_it, over = threading.Event(), threading.Event()

    async def hold() -> None:
        feed = await open_feed(lab.topology.feed_at)
        await feed.serve("other")

        async def waiting(host: str) -> None: ...

        await feed.claim(VIF, waiting)
        has_it.set()
        await asyncio.to_thread(over.wait)
        await feed.release(VIF)
        await feed.close()

    def work() -> None:
        with inside(lab.topology.hypervisor.namespace):
            asyncio.run(hold())

    held = in_thread(work)
    assert has_it.wait(60)
    try:
        yield
    finally:
        over.set()
        held.result(60)


@breaks("controller", "no controller answers at", "hvchannel-control host")
async def controller_dead(lab: Patient) -> AsyncIterator[None]:
    async with lab.dead("host/control"):
        yield


@breaks("controller", "VIF vm1 is not attached", "hvchannel attach vm1 --mac MAC --port PORT")
async def vif_not_attached(lab: Patient) -> AsyncIterator[None]:
    def detach() -> None:
        with lab.control() as control:
            control.detach(VIF)

    async with lab.attached_otherwise():
        await asyncio.to_thread(detach)
        yield


@breaks("host vSwitch", "is not connected", "start it")
async def host_switch_dead(lab: Patient) -> AsyncIterator[None]:
    async with lab.dead("host/softswitch"):
        yield


@breaks("host vSwitch", r"^translate\[.*\] is missing$", "restores them at its next audit")
async def entry_deleted(lab: Patient) -> AsyncIterator[None]:
    other = OtherHand(f"unix:{lab.topology.p4runtime_socket('host')}")
    entry = next(entry for entry in await other.read() if entry.table == "translate")
    await other.write(Update(Operation.DELETE, entry))
    try:
        yield
    finally:
        await other.write(Update(Operation.INSERT, entry))
        await other.close()


@breaks("VNIC", "vnic1 at port 2 is down", "ip link set vnic1 up")
async def vnic_down(lab: Patient) -> AsyncIterator[None]:
    await lab.ip("host", "link", "set", "vnic1", "down")
    yield
    await lab.ip("host", "link", "set", "vnic1", "up")


@breaks("VNIC", "vnic1 at port 2 has no carrier", "is the VM running")
async def vnic_without_carrier(lab: Patient) -> AsyncIterator[None]:
    await lab.ip("vm1", "link", "set", "eth0", "down")
    yield
    await lab.ip("vm1", "link", "set", "eth0", "up")


@breaks("VNIC", "there is no interface vnic1", "plug the VNIC in")
async def vnic_unplugged(lab: Patient) -> AsyncIterator[None]:
    await lab.vm.unplug()
    yield
    await lab.vm.plug()


@breaks("VNIC", "no interface at port 9", "hvchannel attach vm1 --mac .* --port PORT")
async def wrong_port(lab: Patient) -> AsyncIterator[None]:
    async with lab.attached_otherwise(port=9):
        yield


@breaks("guest vSwitch", "attached with MAC 02:00:00:00:00:77, and the VNIC's is 0a:", "--mac 0a:.* --port 2")
async def wrong_mac(lab: Patient) -> AsyncIterator[None]:
    async with lab.attached_otherwise(mac="02:00:00:00:00:77"):
        yield


@breaks("guest vSwitch", "its controller says: .* is not connected", "in the VM, start its vSwitch")
async def guest_switch_dead(lab: Patient) -> AsyncIterator[None]:
    async with lab.dead("vm1/softswitch"):
        yield


@breaks("guest vSwitch", "nothing came back, and no controller answers", "hvchannel-control guest")
async def guest_switch_never_programmed(lab: Patient) -> AsyncIterator[None]:
    async with lab.dead("vm1/control"):
        killed = lab.handle.kill("vm1/softswitch")
        await asyncio.to_thread(lab.handle.wait_restarted, "vm1/softswitch", killed)
        yield


@breaks("guestd", "refuses connections: nothing listens", "guestd run")
async def guestd_dead(lab: Patient) -> AsyncIterator[None]:
    async with lab.dead("vm1/guestd"):
        yield


@breaks("guestd", "takes connections and says nothing .*: it hangs", "pkill -KILL guestd")
async def guestd_frozen(lab: Patient) -> AsyncIterator[None]:
    frozen = lab.handle.kill("vm1/guestd", signal.SIGSTOP)
    yield
    os.kill(frozen.pid, signal.SIGCONT)


@breaks("guestd", "no protocol version in common: hypervisor speaks .*, guest speaks 98 to 99", "releases")
async def version_mismatch(lab: Patient) -> AsyncIterator[None]:
    guestd = lab.supervisor.children["vm1/guestd"].program
    await lab.supervisor.stop(["vm1/guestd"])
    stranger = (sys.executable, "-c", SPEAKS_ANOTHER_VERSION, *guestd.argv[1:])
    await lab.supervisor.start([replace(guestd, argv=stranger)])
    yield
    await lab.supervisor.stop(["vm1/guestd"])
    await lab.supervisor.start([guestd])


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Patient]:
    if nats_servers.PROGRAM is None:
        pytest.skip(nats_servers.MISSING)
    state = tmp_path_factory.mktemp("diagnose") / "s"
    topology = plan(f"t-diag-{os.getpid()}", state, 1, engine=Engine.INTERPRETER, feed_engine=FeedEngine.NATS)
    loop, up, down = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    made: list[Patient] = []

    async def run() -> None:
        async with RunningLab(topology, policy=Policy(longest_delay=0.5)) as running:
            made.append(Patient(running, loop))
            up.set()
            await down.wait()

    # in this thread the lab's processes live; it is not the test's, which blocks
    running = in_thread(lambda: loop.run_until_complete(run()))
    running.add_done_callback(lambda _: up.set())
    up.wait()
    if not made:
        running.result()
    pause_audits(made[0])
    yield made[0]
    loop.call_soon_threadsafe(down.set)
    running.result(60)


def pause_audits(lab: Patient) -> None:
    """The host's controller shall not put right what a test breaks."""
    file = lab.topology.folder("host") / "control.toml"
    file.write_text(file.read_text().replace("[switch]", "[switch]\naudit_interval_s = 3600"))
    lab.handle.wait_restarted("host/control", lab.handle.kill("host/control"))


def hvchannel(lab: Patient, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HVCHANNEL_")}
    argv = [sys.executable, "-m", "hvchannel_lab.cli", "--lab", lab.topology.name, *words]
    return subprocess.run(argv, capture_output=True, text=True, timeout=90, env=environment, check=False)


def until_healthy(lab: Patient) -> None:
    last: list[Diagnosis] = []

    def healthy() -> bool | None:
        last[:] = [lab.diagnosis()]
        return True if last[0].healthy else None

    try:
        lab.handle.until(healthy, "healthy", 60)
    except TimeoutError:
        raise AssertionError(f"not healthy: {last}") from None


def test_a_healthy_channel_is_called_so(lab: Patient) -> None:
    until_healthy(lab)
    shown = hvchannel(lab, "diagnose", VIF)
    assert (shown.returncode, shown.stderr) == (0, "")
    *hops, verdict = shown.stdout.splitlines()
    assert [line.split()[0] for line in hops] == ["ok"] * 7
    assert verdict == "vm1: healthy"
    assert hvchannel(lab, "status").returncode == 0


@pytest.mark.parametrize("name", BREAKS)
def test_each_break_is_named(lab: Patient, name: str) -> None:
    breaking, hop, evidence, remedy = BREAKS[name]
    last: list[Diagnosis] = []

    def found() -> bool | None:
        last[:] = [lab.diagnosis()]
        broken = last[0].broken
        right = broken and broken.name == hop and re.search(evidence, broken.evidence)
        return True if right and re.search(remedy, broken.remedy) else None

    context = breaking(lab)
    lab.do(context.__aenter__())
    try:
        lab.handle.until(found, f"broken at {hop}", 45)
    except TimeoutError:
        raise AssertionError(f"broken at {hop} ({evidence}) was expected: {last}") from None
    finally:
        lab.do(context.__aexit__(None, None, None))
    until_healthy(lab)


def test_the_command_says_what_is_broken_and_what_to_do(lab: Patient) -> None:
    context = lab.dead("vm1/guestd")
    lab.do(context.__aenter__())
    try:
        lab.handle.until(lambda: lab.diagnosis().broken, "seen", 30)  # what was under way has come to its end
        shown = hvchannel(lab, "diagnose", VIF)
        assert shown.returncode == 1
        assert "vm1: broken at guestd\n  remedy: in the VM, start it: guestd run" in shown.stdout
        lab.handle.until(lambda: hvchannel(lab, "status").returncode or None, "status sees it", 30)
    finally:
        lab.do(context.__aexit__(None, None, None))
    told = json.loads(hvchannel(lab, "diagnose", "vm9", "--json").stdout)
    assert (told["healthy"], told["broken"]) == (False, "controller")
