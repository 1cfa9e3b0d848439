# SPDX-License-Identifier: Apache-2.0
"""The lab that faults are injected into: its processes in this one's hands, its disks small, its links led through
proxies that can fail."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from hvchannel_lab import network, pinned
from hvchannel_lab.handle import Handle
from hvchannel_lab.running_lab import RunningLab
from hvchannel_lab.supervisor import Policy, Program, State
from hvchannel_lab.targets import Engine, FeedEngine
from hvchannel_lab.threads import in_thread
from hvchannel_lab.topology import Topology, plan

from tests.chaos.proxy import Proxies

T = TypeVar("T")

POLICY = Policy(longest_delay=0.5)
DISK_MIB = 96
_WITHIN = 180.0  # seconds for a step of the harness itself
_NATS_VIA = 4223
_HOOK = """#!/bin/sh
printf '%s %s %s %s\\n' "$PPID" "$HVCHANNEL_KEY" "$HVCHANNEL_REVISION" "$HVCHANNEL_EVENT" >> "{log}"
"""
LIBFAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")


class ChaosTopology(Topology):
    """The embedded feed lies on the hypervisor's small disk."""

    @property
    def feed(self) -> Path:
        return self.state / "host" / "disk" / "feed.db"


class World:
    """A lab of one hypervisor and two VMs, and what is done to it. Methods block."""

    def __init__(self, running: RunningLab, loop: asyncio.AbstractEventLoop, proxies: Proxies) -> None:
        self.running = running
        self.topology = running.topology
        self.supervisor = running.supervisor
        self.handle = Handle(running.topology)
        self.proxies = proxies
        self.forgot: set[str] = set()
        """VMs whose store was lost since the last check: what they got, they get again."""
        self._loop = loop

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """In the lab's own thread, to which its processes belong."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_WITHIN)

    # Processes

    @property
    def switches(self) -> list[str]:
        return [f"{who}/softswitch" for who in self.topology.whos]

    @property
    def uses_nats(self) -> bool:
        return self.topology.feed_engine is FeedEngine.NATS

    def state(self, key: str) -> State:
        return self.supervisor.children[key].state

    @contextmanager
    def dead(self, *keys: str) -> Iterator[None]:
        """Killed with SIGKILL, and not started again in the block."""
        with ExitStack() as held:

            async def hold() -> None:
                for key in keys:
                    held.enter_context(self.supervisor.hold(key))

            async def release() -> None:
                held.close()

            self.do(hold())
            try:
                for key in keys:
                    self.kill(key)
                for key in keys:
                    self.until(lambda key=key: self.supervisor.children[key].process is None, f"{key} ends")
                yield
            finally:
                self.do(release())

    def kill(self, key: str) -> None:
        with suppress(ProcessLookupError):
            self.handle.kill(key)

    def signal(self, key: str, number: int) -> int:
        """Returns the pid that got it. Raises ProcessLookupError."""
        pid = self.handle.pid(key)
        os.kill(pid, number)
        return pid

    def log_since(self, key: str, offset: int) -> str:
        path = self.supervisor.children[key].program.log
        with path.open("rb") as log:
            log.seek(offset)
            return log.read().decode(errors="replace")

    def log_size(self, key: str) -> int:
        return self.supervisor.children[key].log_size()

    @staticmethod
    def until(condition: Callable[[], Any], what: str, within: float = _WITHIN) -> None:
        """Raises TimeoutError."""
        deadline = time.monotonic() + within
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {within:g} s: {what}")
            time.sleep(0.02)

    # Disks

    def disk(self, who: str) -> Path:
        """The mount point of a part's small disk."""
        return disk(self.topology, who)

    # The whole machine

    @contextmanager
    def powered_off(self, *whos: str) -> Iterator[None]:
        """Of these parts nothing is left in the block but their disks."""
        topology = self.topology
        keys = [key for key in self.supervisor.children if key.partition("/")[0] in whos]
        with self.dead(*keys):
            pinned.end([topology.switch_name(who) for who in whos])
            for who in whos:
                network.remove_namespace(topology.namespace(who))
                for left in topology.folder(who).glob("*.sock"):
                    if not left.name.startswith("via"):
                        left.unlink(missing_ok=True)
            yield
            if "host" in whos:
                network.add_hypervisor(topology.hypervisor, topology.mtu)
            for vm in topology.vms:
                if vm.name in whos:
                    network.add_vm(vm, topology)
                network.unplug(vm, topology)
                network.plug(vm, topology)


def disk(topology: Topology, who: str) -> Path:
    return topology.state / who / ("disk" if who == "host" else "guestd")


@contextmanager
def world(name: str, state: Path, engine: Engine, feed: FeedEngine, *, keep: bool = False) -> Iterator[World]:
    """A world that is up, every VM reached. After the block nothing is left of it, its directory neither."""
    planned = plan(name, state, 2, engine=engine, feed_engine=feed)
    topology = ChaosTopology.model_validate(planned.model_dump())
    with ExitStack() as clean:
        if not keep:
            clean.callback(shutil.rmtree, state.parent, ignore_errors=True)
        for who in topology.whos:
            _mount(disk(topology, who), clean)
        running, loop = clean.enter_context(_lab(topology))
        proxies = Proxies(topology.hypervisor.namespace)
        clean.callback(proxies.stop)
        made = World(running, loop, proxies)
        _furnish(made)
        yield made


@contextmanager
def _lab(topology: Topology) -> Iterator[tuple[RunningLab, asyncio.AbstractEventLoop]]:
    loop, up, down = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    made: list[RunningLab] = []

    async def run() -> None:
        async with RunningLab(topology, policy=POLICY, keep=True) as running:
            made.append(running)
            up.set()
            await down.wait()

    # the thread in which the lab's processes live: they die with it
    over = in_thread(lambda: loop.run_until_complete(run()))
    over.add_done_callback(lambda _: up.set())
    try:
        up.wait()
        if not made:
            over.result()
        yield made[0], loop
    finally:
        loop.call_soon_threadsafe(down.set)
        over.result(_WITHIN)


def _mount(where: Path, clean: ExitStack) -> None:
    where.mkdir(mode=0o700, parents=True)
    options = f"size={DISK_MIB}m,mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "hvchannel-chaos", where], check=True)
    clean.callback(subprocess.run, ["umount", "-l", where], check=False)


def _furnish(world: World) -> None:
    """What the lab does not have by itself: all state on the small disks, proxies in the ways, hooks in the guests."""
    topology = world.topology
    for who in topology.whos:
        via, direct = topology.folder(who) / "via.sock", topology.p4runtime_socket(who)
        world.proxies.unix(f"{who}/p4rt", via, direct)
    _replace(world, "host/control", lambda program: program, lambda: _move_control(topology))
    for vm in topology.vms:
        _replace(world, f"{vm.name}/control", lambda p: p, lambda vm=vm: _via_proxy(topology, vm.name))
        _replace(world, f"{vm.name}/guestd", lambda p, vm=vm: _with_hooks(topology, vm.name, p))
    if world.uses_nats:
        assert topology.control_plane is not None
        world.proxies.tcp("host/nats", _NATS_VIA, topology.control_plane.port)
        own, via = f":{topology.control_plane.port}/", f":{_NATS_VIA}/"
        nats = topology.folder("host") / "nats"
        _replace(
            world,
            "host/nats",
            lambda p: replace(
                p, argv=tuple(str(world.disk("host") / "nats") if a == str(nats) else a for a in p.argv)
            ),
            lambda: shutil.copytree(nats, world.disk("host") / "nats"),
        )
        _replace(world, "host/hostd", lambda p: replace(p, argv=tuple(a.replace(own, via) for a in p.argv)))


CLOCKED = ("host/hostd", "host/control", "vm1/guestd", "vm1/control")
"""Processes whose wall clock the harness can set, where libfaketime is installed."""


@contextmanager
def own_clock(world: World, key: str) -> Iterator[Callable[[str], None]]:
    """In the block the process, started anew, has a wall clock of its own, which what is given sets: "+1h", "-20d"."""
    who, _, name = key.partition("/")
    file = world.topology.folder(who) / f"{name}.clock"
    before = world.supervisor.children[key].program

    def jump(offset: str) -> None:
        partial = file.with_suffix(".new")
        partial.write_text(f"{offset}\n")
        partial.replace(file)

    jump("+0")
    environment = (
        f"LD_PRELOAD={LIBFAKETIME}",
        f"FAKETIME_TIMESTAMP_FILE={file}",
        "FAKETIME_CACHE_DURATION=1",  # seconds until a jump is seen; else each look at the clock reads the file
        "DONT_FAKE_MONOTONIC=1",
        "NO_FAKE_STAT=1",
    )
    _replace(world, key, lambda p: replace(p, argv=("/usr/bin/env", *environment, *p.argv)))
    try:
        yield jump
    finally:
        _replace(world, key, lambda _: before)


def _replace(
    world: World,
    key: str,
    change: Callable[[Program], Program],
    between: Callable[[], object] = lambda: None,
) -> None:
    program = world.supervisor.children[key].program
    world.do(world.supervisor.stop([key]))
    between()
    world.do(world.supervisor.start([change(program)]))


def _move_control(topology: Topology) -> None:
    folder = topology.folder("host")
    for file in folder.glob("control.db*"):
        shutil.move(file, folder / "disk" / file.name)
    _via_proxy(topology, "host")
    file = folder / "control.toml"
    file.write_text(file.read_text().replace('state = "control.db"', 'state = "disk/control.db"'))


def _via_proxy(topology: Topology, who: str) -> None:
    file = topology.folder(who) / "control.toml"
    file.write_text(file.read_text().replace('"unix:p4rt.sock"', '"unix:via.sock"'))


def hook_log(topology: Topology, vm: str) -> Path:
    return topology.folder(vm) / "hooks.log"


def _with_hooks(topology: Topology, vm: str, program: Program) -> Program:
    folder = topology.folder(vm) / "hooks.d"
    folder.mkdir(mode=0o700, exist_ok=True)
    hook = folder / "10-effect"
    hook.write_text(_HOOK.format(log=hook_log(topology, vm)))
    hook.chmod(0o700)
    hook_log(topology, vm).touch()
    return replace(program, argv=(*program.argv, "--hooks", str(folder)))


def dealt(seed: str) -> random.Random:
    """A source of chance of its own for each purpose and round: what one draws does not change the others' luck."""
    return random.Random(seed)
