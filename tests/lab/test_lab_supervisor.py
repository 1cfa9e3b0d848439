# SPDX-License-Identifier: Apache-2.0
import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hvchannel_lab import network
from hvchannel_lab.registry import Process
from hvchannel_lab.supervisor import Child, Policy, Program, StartError, State, Supervisor

pytestmark = pytest.mark.root
QUICK = Policy(first_delay=0.01, longest_delay=0.05, ready_within=20, stop_grace=5)

SERVE = """
import os, signal, socket, sys
path = sys.argv[1]
if os.path.exists(path): os.unlink(path)
listener = socket.socket(socket.AF_UNIX)
listener.bind(path); listener.listen()
print("serving", flush=True)
while True: listener.accept()[0].close()
"""


@pytest.fixture(scope="module")
def namespace() -> Iterator[str]:
    name = f"t-lab-{os.getpid()}-supervisor"
    network.create_namespace(name)
    yield name
    network.remove_namespace(name)


async def until(condition: Callable[[], object], what: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.01)


class Bench:
    """A supervisor with what it needs around it."""

    def __init__(self, folder: Path, namespace: str, policy: Policy = QUICK) -> None:
        self.folder, self.namespace = folder, namespace
        self.record = folder / "processes.json"
        self.changes: list[tuple[str, State]] = []
        self.supervisor = Supervisor(self.record, policy, self._changed)

    def _changed(self, child: Child) -> None:
        self.changes.append((child.program.key, child.state))

    def program(self, name: str, code: str, *arguments: str, stage: int = 0, ready: bool = False) -> Program:
        socket = self.folder / f"{name}.sock"
        return Program(
            who="vm1",
            name=name,
            namespace=self.namespace,
            argv=(sys.executable, "-S", "-c", code, str(socket), *arguments),
            log=self.folder / "vm1" / f"{name}.log",
            stage=stage,
            ready=socket if ready else None,
        )

    def child(self, name: str) -> Child:
        return self.supervisor.children[f"vm1/{name}"]

    def pid(self, name: str) -> int:
        process = self.child(name).process
        assert process is not None
        return process.pid

    def ended_in_order(self) -> list[str]:
        return [key for key, state in self.changes if state is State.STOPPED]


@asynccontextmanager
async def bench(folder: Path, namespace: str, policy: Policy = QUICK) -> AsyncIterator[Bench]:
    made = Bench(folder, namespace, policy)
    try:
        yield made
    finally:
        await made.supervisor.stop()


async def test_a_program_is_up_when_its_socket_answers(tmp_path: Path, namespace: str) -> None:
    async with bench(tmp_path, namespace) as b:
        await b.supervisor.start([b.program("server", SERVE, ready=True)])
        assert b.child("server").state is State.RUNNING
        assert b.changes == [("vm1/server", State.STARTING), ("vm1/server", State.RUNNING)]
        assert "serving" in (tmp_path / "vm1/server.log").read_text()


async def test_it_runs_in_its_namespace_in_a_session_of_its_own_without_a_wrapper(
    tmp_path: Path, namespace: str
) -> None:
    async with bench(tmp_path, namespace) as b:
        await b.supervisor.start([b.program("server", SERVE, ready=True)])
        pid = b.pid("server")
        process = Path(f"/proc/{pid}")
        assert (process / "ns/net").samefile(f"/run/netns/{namespace}")
        assert os.getsid(pid) == pid
        assert b"enter.py" not in (process / "cmdline").read_bytes()
        assert (process / f"task/{pid}/children").read_text() == ""


async def test_a_killed_program_comes_back_and_is_counted(tmp_path: Path, namespace: str) -> None:
    async with bench(tmp_path, namespace) as b:
        await b.supervisor.start([b.program("server", SERVE, ready=True)])
        for count in (1, 2, 3):
            before = b.pid("server")
            os.kill(before, signal.SIGKILL)
            await until(
                lambda n=count: b.child("server").restarts == n and b.child("server").process, "restart"
            )
            assert b.child("server").last_exit == -signal.SIGKILL
            assert b.pid("server") != before
        recorded = json.loads(b.record.read_bytes())["vm1/server"]
        assert recorded["restarts"] == 3
        assert Process(recorded["pid"], recorded["start_time"]) == b.child("server").process


async def test_one_without_a_socket_is_up_when_it_was_started_even_if_it_has_ended(
    tmp_path: Path, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hvchannel_lab.supervisor._POLL", 1.0)  # nobody looks before its end
    async with bench(tmp_path, namespace, Policy(first_delay=1000, longest_delay=1000)) as b:
        await b.supervisor.start([b.program("brief", "pass")])
        await until(lambda: b.child("brief").state is State.WAITING, "its end")
        assert b.child("brief").last_exit == 0


async def test_one_that_is_held_is_started_again_when_it_is_let_go(tmp_path: Path, namespace: str) -> None:
    async with bench(tmp_path, namespace) as b:
        await b.supervisor.start([b.program("server", SERVE, ready=True)])
        with b.supervisor.hold("vm1/server"):
            os.kill(b.pid("server"), signal.SIGKILL)
            await until(lambda: b.child("server").state is State.WAITING, "its end")
            await asyncio.sleep(10 * QUICK.longest_delay)
            assert b.child("server").process is None
        await until(lambda: b.child("server").process, "its restart")


async def test_one_that_is_held_is_stopped_at_once(tmp_path: Path, namespace: str) -> None:
    async with bench(tmp_path, namespace) as b:
        await b.supervisor.start([b.program("server", SERVE, ready=True)])
        with b.supervisor.hold("vm1/server"):
            os.kill(b.pid("server"), signal.SIGKILL)
            await until(lambda: b.child("server").state is State.WAITING, "its end")
            await asyncio.wait_for(b.supervisor.stop(), 10)


async def test_delays_grow_up_to_the_longest(tmp_path: Path, namespace: str) -> None:
    policy = Policy(first_delay=0.01, longest_delay=0.04, ready_within=20)
    async with bench(tmp_path, namespace, policy) as b:
        await b.supervisor.start([b.program("brief", "pass")])
        await until(lambda: b.child("brief").restarts >= 5, "five restarts")
        assert (tmp_path / "vm1/brief.log").exists()


async def test_one_that_ends_before_it_is_ready_is_reported_with_its_last_words(
    tmp_path: Path, namespace: str
) -> None:
    async with bench(tmp_path, namespace) as b:
        good = b.program("server", SERVE, ready=True)
        bad = b.program("bad", "import sys; print('no such port'); sys.exit(3)", ready=True)
        with pytest.raises(StartError, match=r"vm1/bad ended with status 3 .*bad\.log") as caught:
            await b.supervisor.start([good, bad])
        assert caught.value.tail == ["no such port"]


async def test_one_that_never_answers_is_reported(tmp_path: Path, namespace: str) -> None:
    policy = Policy(ready_within=0.5)
    async with bench(tmp_path, namespace, policy) as b:
        with pytest.raises(StartError, match=r"vm1/mute was not ready within 0.5 s: .*mute\.sock"):
            await b.supervisor.start([b.program("mute", "import time; time.sleep(60)", ready=True)])


async def test_a_program_that_does_not_exist_is_reported(tmp_path: Path, namespace: str) -> None:
    async with bench(tmp_path, namespace) as b:
        missing = Program(
            "vm1", "x", namespace, ("/nonexistent/program",), tmp_path / "x.log", ready=tmp_path / "x"
        )
        with pytest.raises(StartError, match="status 126") as caught:
            await b.supervisor.start([missing])
        assert "/nonexistent/program" in caught.value.tail[0]


async def test_the_highest_stage_stops_first(tmp_path: Path, namespace: str) -> None:
    async with bench(tmp_path, namespace) as b:
        await b.supervisor.start(
            [b.program(f"p{stage}", SERVE, stage=stage, ready=True) for stage in (1, 0, 2)]
        )
        await b.supervisor.stop()
        assert b.ended_in_order() == ["vm1/p2", "vm1/p1", "vm1/p0"]
        assert json.loads(b.record.read_bytes()) == {}


async def test_one_that_ignores_sigterm_is_killed_with_all_it_started(tmp_path: Path, namespace: str) -> None:
    stubborn = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "1000"])
print(child.pid, flush=True)
time.sleep(1000)
"""
    async with bench(tmp_path, namespace, Policy(stop_grace=0.2)) as b:
        await b.supervisor.start([b.program("stubborn", stubborn)])
        log = tmp_path / "vm1/stubborn.log"
        await until(lambda: log.read_text().endswith("\n"), "its child")
        grandchild = Process.of(int(log.read_text()))
        child = b.child("stubborn")
        await b.supervisor.stop()
        assert child.last_exit == -signal.SIGKILL
        await until(lambda: not grandchild.alive, "the end of what it had started")


async def test_one_that_waits_for_its_restart_is_stopped_at_once(tmp_path: Path, namespace: str) -> None:
    async with bench(tmp_path, namespace, Policy(first_delay=1000, longest_delay=1000)) as b:
        await b.supervisor.start([b.program("brief", "pass")])
        await until(lambda: b.child("brief").state is State.WAITING, "its end")
        await asyncio.wait_for(b.supervisor.stop(), 10)


async def test_logs_are_appended_to_and_the_tail_is_of_the_present_run(
    tmp_path: Path, namespace: str
) -> None:
    async with bench(tmp_path, namespace) as b:
        (tmp_path / "vm1").mkdir()
        (tmp_path / "vm1/server.log").write_text("an earlier run\n")
        await b.supervisor.start([b.program("server", SERVE, ready=True)])
        assert (tmp_path / "vm1/server.log").read_text() == "an earlier run\nserving\n"
        assert b.child("server").tail() == ["serving"]
        assert b.child("server").log_size() == len("an earlier run\nserving\n")


def test_programs_die_with_a_killed_lab(tmp_path: Path, namespace: str) -> None:
    lab = f"""
import asyncio
from pathlib import Path
from hvchannel_lab.supervisor import Program, Supervisor
async def main():
    supervisor = Supervisor(Path({str(tmp_path)!r}) / "processes.json")
    argv = ({sys.executable!r}, "-S", "-c", "import time; time.sleep(1000)")
    await supervisor.start([Program("vm1", "p", {namespace!r}, argv, Path({str(tmp_path)!r}) / "p.log")])
    print(supervisor.children["vm1/p"].process.pid, flush=True)
    await asyncio.sleep(1000)
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", lab], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            child = Process.of(int(process.stdout.readline()))
        finally:
            process.kill()
        process.wait()
    asyncio.run(until(lambda: not child.alive, "the child's end"))
