# SPDX-License-Identifier: Apache-2.0
"""`hvchannel` as people use it: whole labs, in processes of their own, ended in every way there is."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hvchannel_lab import namespaces, network, pinned, registry
from hvchannel_lab.background import BackgroundError, background_lab
from hvchannel_lab.registry import Process

pytestmark = [pytest.mark.root, pytest.mark.e2e]
PINS = Path("/sys/fs/bpf/softswitch")
CLI = [sys.executable, "-m", "hvchannel_lab.cli"]


def hvchannel(*words: str, lab: str | None = None, timeout: float = 90) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HVCHANNEL_")}
    if lab:
        environment["HVCHANNEL_LAB"] = lab
    return subprocess.run(
        [*CLI, *words], capture_output=True, text=True, timeout=timeout, env=environment, check=False
    )


def until(condition: Callable[[], object], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def left_of(name: str) -> list[str]:
    """Everything of a lab that outlives its process should not be here."""
    found = [namespace for namespace in namespaces.existing() if namespace.startswith(f"hvc-{name}-")]
    found += [str(path) for place in (pinned.RUN, PINS) for path in place.glob(f"hvc-{name}-*")]
    return found + [str(path) for path in registry.RUN.glob(f"{name}.json")]


def children_of(state: Path) -> list[Process]:
    recorded = json.loads((state / "processes.json").read_bytes()).values()
    return [Process(one["pid"], one["start_time"]) for one in recorded if one["pid"]]


@pytest.fixture
def name(tmp_path: Path) -> Iterator[str]:
    name = f"t-lab-{os.getpid()}-cli"
    yield name
    pinned.end(path.name for path in pinned.RUN.glob(f"hvc-{name}-*"))
    for namespace in left_of(name):
        if namespace.startswith("hvc-"):
            network.remove_namespace(namespace)
    registry.release(name)


@pytest.mark.parametrize("engine", ["xdp", "interpreter"])
def test_run_shows_every_element_and_leaves_nothing(tmp_path: Path, name: str, engine: str) -> None:
    words = [
        "run",
        "--engine",
        engine,
        "--vms",
        "1",
        "--name",
        name,
        "--state",
        str(tmp_path / "s"),
        "--json",
    ]
    done = hvchannel(*words)
    assert done.returncode == 0, done.stderr
    (journey,) = json.loads(done.stdout)
    assert journey["vm"] == "vm1"
    assert [element["number"] for element in journey["there"]] == [str(n) for n in range(1, 11)]
    assert len(journey["back"]) == 6
    sources = {element["number"]: element["sources"] for element in (*journey["there"], *journey["back"])}
    told = ", as the vSwitch's own trace tells" if engine == "xdp" else ""
    for number, frame in {
        "4": "arriving at host/hostd0s",
        "7": "leaving by host/vnic1",
        "8": "arriving at vm1/eth0",
        "R3": "leaving by vm1/eth0",
    }.items():
        assert f"frame {frame}{told}" in sources[number]
    assert "frame leaving by host/hostd0" in sources["2"]
    assert "frame arriving at vm1/guestd0" in sources["10"]
    assert left_of(name) == []
    assert (tmp_path / "s/host/softswitch.log").stat().st_size > 0, "logs are kept"


def test_other_commands_find_the_running_lab_and_down_ends_it(tmp_path: Path, name: str) -> None:
    state = tmp_path / "s"
    with subprocess.Popen(
        [*CLI, "up", "--vms", "1", "--name", name, "--state", str(state)], stderr=subprocess.PIPE
    ) as process:
        try:
            until(lambda: (state / "up").exists() or process.poll() is not None, "the lab is up")
            (vif,) = json.loads(hvchannel("list", "--json", lab=name).stdout)
            assert vif["vif_id"] == "vm1"
            assert hvchannel("--lab", name, "vswitch").returncode == 0
            assert hvchannel("status", lab=name).returncode == 0

            again = hvchannel("up", "--name", name, "--state", str(tmp_path / "other"))
            assert again.returncode == 1
            assert f"lab '{name}' is up already" in again.stderr

            before = children_of(state)
            restarted = hvchannel("restart", "vm1/guestd", "--name", name, "--signal", "kill")
            assert restarted.returncode == 0, restarted.stderr
            assert len([child for child in before if not child.alive]) == 1
            wrong = hvchannel("restart", "vm1/guest", "--name", name)
            assert wrong.returncode == 1 and "valid: host/softswitch" in wrong.stderr

            exports = hvchannel("shell-env", "--name", name).stdout
            assert f"export HVCHANNEL_FEED={state}/feed.db\n" in exports

            assert hvchannel("journey", "--name", name).returncode == 0
            assert hvchannel("down", "--name", name).returncode == 0
            assert process.wait(60) == 0
        finally:
            process.kill()
    assert left_of(name) == []
    assert hvchannel("shell-env", "--name", name).returncode == 1


def test_two_labs_run_at_once(tmp_path: Path, name: str) -> None:
    with (
        background_lab(f"{name}-a", tmp_path / "a", 1) as one,
        background_lab(f"{name}-b", tmp_path / "b", 1) as other,
    ):
        for lab in (one, other):
            lab.wait_acked("vm1", "key", lab.put("vm1", "key", lab.topology.name.encode()))
        assert [lab.read_in_guest("vm1", "key").decode() for lab in (one, other)] == [
            f"{name}-a",
            f"{name}-b",
        ]
        assert one.vms[0].mac != other.vms[0].mac


def test_a_killed_labs_processes_die_and_what_is_left_of_it_is_removed_later(
    tmp_path: Path, name: str
) -> None:
    state = tmp_path / "s"
    with subprocess.Popen(
        [*CLI, "up", "--vms", "1", "--name", name, "--state", str(state)], stderr=subprocess.DEVNULL
    ) as process:
        until((state / "up").exists, "the lab is up")
        children = children_of(state)
        assert len(children) == 7
        process.kill()
    until(lambda: not any(child.alive for child in children), "the children's end", 10)
    assert {Path(left).name for left in left_of(name)} >= {
        f"hvc-{name}-hv",
        f"hvc-{name}-vm1",
        f"{name}.json",
    }
    assert len(list(PINS.glob(f"hvc-{name}-*"))) == 2, "its vSwitches go on forwarding"
    down = hvchannel("down", "--name", name)
    assert down.returncode == 0
    assert f"lab {name}: its owner is gone; removed 2 namespaces and 2 vSwitches in the kernel" in down.stdout
    assert left_of(name) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_it_comes_up_leaves_nothing(tmp_path: Path, name: str, number: signal.Signals) -> None:
    state = tmp_path / "s"
    with subprocess.Popen(
        [*CLI, "run", "--vms", "2", "--name", name, "--state", str(state)], stderr=subprocess.DEVNULL
    ) as process:
        until((state / "processes.json").exists, "its processes start")
        children = children_of(state)
        process.send_signal(number)
        process.send_signal(number)  # an impatient user: what is being removed is removed to its end
        assert process.wait(60) == 1
    assert left_of(name) == []
    assert not any(child.alive for child in children)


def test_a_failed_start_says_why_in_one_line_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    state = tmp_path / "s"
    (state / "host/p4rt.sock").mkdir(parents=True)  # so that the vSwitch cannot listen there
    (state / "host/p4rt.sock/occupied").touch()
    done = hvchannel("up", "--vms", "1", "--name", name, "--state", str(state), "--keep")
    assert done.returncode == 1
    message, *tail = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert message.startswith("hvchannel: host/softswitch ended with status")
    assert str(state / "host/softswitch.log") in message
    assert tail and all(line.startswith("  | ") for line in tail)
    assert left_of(name) == []


def test_somebody_elses_directory_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    done = hvchannel("up", "--name", name, "--state", str(tmp_path))
    assert done.returncode == 1
    assert "is not a lab's (it holds 'thesis.tex')" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    assert left_of(name) == []


def test_wrong_use_is_told_from_failure(tmp_path: Path, name: str) -> None:
    assert hvchannel("run", "--vms", "0", "--name", name, "--state", str(tmp_path / "s")).returncode == 1
    done = hvchannel("run", "--target", "tofino")
    assert done.returncode == 2
    assert "softswitch" in done.stderr
    assert hvchannel("restart", "vm1/guestd", "--signal", "BANG").returncode == 2


def test_a_verb_without_a_lab_says_how_to_start_one(name: str) -> None:
    for verb in ("list", "status"):
        done = hvchannel(verb, lab=name)
        assert done.returncode == 2
        assert f"`hvchannel up --name {name}` starts it" in done.stderr


def test_a_lab_that_cannot_come_up_in_the_background_says_what_it_printed(tmp_path: Path) -> None:
    with (
        pytest.raises(BackgroundError, match="lab name 'Not a name'"),
        background_lab("Not a name", tmp_path / "s"),
    ):
        pass


def test_on_a_terminal_it_stays_with_a_live_view_until_ctrl_c(tmp_path: Path, name: str) -> None:
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [*CLI, "run", "--vms", "1", "--name", name, "--state", str(tmp_path / "s")])
    seen = b""
    interrupted = False
    deadline = time.monotonic() + 60
    try:
        while time.monotonic() < deadline:
            if not select.select([terminal], [], [], 0.5)[0]:
                continue
            try:
                seen += os.read(terminal, 65536)
            except OSError:  # the other end is closed
                break
            if not interrupted and b"what the vSwitches decided" in seen and b"forwarded" in seen:
                assert b"the answer on its way back" in seen
                os.write(terminal, b"\x03")
                interrupted = True
    finally:
        os.close(terminal)
        _, status = os.waitpid(child, 0)
    assert interrupted, seen[-2000:].decode(errors="replace")
    assert os.waitstatus_to_exitcode(status) == 0
    assert left_of(name) == []
