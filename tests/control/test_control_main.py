# SPDX-License-Identifier: Apache-2.0
"""The `hvchannel-control` process: starts, survives kill -9, ends cleanly, and says in one line why it does
not start."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest
from hvchannel_control import examples
from hvchannel_control.api import control_pb2
from hvchannel_control.client import ControlClient, ControlError

COMMAND = Path(sys.executable).with_name("hvchannel-control")
MAC1, MAC2 = "02:00:00:00:00:01", "02:00:00:00:00:02"
DEADLINE_S = 20.0


class Switch(Protocol):
    """Of conftest, serving p4rt.sock in the test's folder, where an empty configuration looks."""

    def kill(self) -> None: ...
    def start(self) -> None: ...


Start = Callable[[], subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a host's controller with an empty configuration and waits until it serves."""
    (tmp_path / "control.toml").touch()
    with ExitStack() as stack:

        def start_one() -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [COMMAND, "host", "--config", tmp_path / "control.toml", "--log-json"],
                stderr=subprocess.PIPE,
                text=True,
            )
            stack.callback(process.communicate)
            stack.callback(process.kill)
            until_served(tmp_path, process)
            return process

        yield start_one


def until_served(folder: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with ControlClient(folder / "control.sock", timeout=1) as client:
                client.vifs()
                return
        except ControlError:
            time.sleep(0.02)
    pytest.fail(f"no controller serves {folder}/control.sock; its exit code is {process.poll()}")


def run(*args: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *args], capture_output=True, text=True, timeout=60, check=False)


def test_kill_9_loses_no_lease_and_no_attachment(tmp_path: Path, target: Switch, start: Start) -> None:
    process = start()
    with ControlClient(tmp_path / "control.sock") as client:
        client.attach("vm1", MAC1, 2)
        acknowledged = client.attach("vm2", MAC2, 3)
        client.detach("vm1")
        process.send_signal(signal.SIGKILL)
        process.wait()
    target.kill()
    start()
    target.start()
    with ControlClient(tmp_path / "control.sock") as client:
        vif = client.wait_realised("vm2", DEADLINE_S)
        assert [vif.vif_id for vif in client.vifs()] == ["vm2"]
    assert vif.state == control_pb2.Vif.REALISED
    assert vif.lip == acknowledged.lip == "169.254.1.11"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_cleanly(tmp_path: Path, target: Switch, start: Start, number: signal.Signals) -> None:
    process = start()
    with ControlClient(tmp_path / "control.sock") as client:
        client.attach("vm1", MAC1, 2)
        assert client.wait_realised("vm1", DEADLINE_S).state == control_pb2.Vif.REALISED
    process.send_signal(number)
    _, log = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0
    assert not (tmp_path / "control.sock").exists()
    events = [json.loads(line) for line in log.splitlines()]
    assert {"api_served", "vif_attached", "vif_realised"} <= {event["event"] for event in events}
    assert all(event["level"] in ("info", "warning", "error") for event in events)
    assert "Traceback" not in log


def test_a_second_controller_with_the_same_state_is_refused(tmp_path: Path, start: Start) -> None:
    start()
    second = run("host", "--config", tmp_path / "control.toml", "--socket", tmp_path / "other.sock")
    assert second.returncode == 1
    assert second.stderr == f"hvchannel-control: {tmp_path}/control.db: in use by another controller\n"


def test_a_program_that_the_switch_refuses_is_said(tmp_path: Path, target: Switch, start: Start) -> None:
    source = Path(__file__).parents[2] / "p4src" / "compiled"
    (tmp_path / "p4").mkdir()
    (tmp_path / "p4/host_vswitch.p4info.txtpb").write_bytes(
        (source / "host_vswitch.p4info.txtpb").read_bytes()
    )
    (tmp_path / "p4/host_vswitch.json").write_text("{}")
    (tmp_path / "control.toml").write_text('pipeline = "p4"')
    process = start()
    with ControlClient(tmp_path / "control.sock") as client:
        deadline = time.monotonic() + DEADLINE_S
        while not (said := client.status().last_error).startswith(
            ("INVALID_ARGUMENT: ", "UNKNOWN: the vSwitch gives no reason")
        ):
            assert time.monotonic() < deadline, said
            time.sleep(0.02)
    process.terminate()
    assert "Traceback" not in process.communicate(timeout=DEADLINE_S)[1]


@pytest.mark.parametrize(("profile", "example"), [("host", examples.HOST), ("guest", examples.GUEST)])
def test_the_default_configuration_is_printed(profile: str, example: str) -> None:
    printed = run(profile, "--print-default-config")
    assert (printed.returncode, printed.stdout) == (0, example)


def test_what_is_wrong_with_the_configuration_is_one_line_and_exit_2(tmp_path: Path) -> None:
    path = tmp_path / "control.toml"
    missing = run("host", "--config", path)
    assert (missing.returncode, missing.stderr) == (
        2,
        f"hvchannel-control: {path}: No such file or directory\n",
    )
    path.write_text("[channel]\nvlann = 3")
    unknown = run("guest", "--config", path)
    assert unknown.returncode == 2
    assert unknown.stderr == (
        f"hvchannel-control: {path}: unknown key 'channel.vlann' "
        "(valid here: cip, hypervisor_ip, hypervisor_mac, prefix, vlan)\n"
    )
    path.write_text('[vif]\nvnic = "nosuch0"')
    absent = run("guest", "--config", path)
    assert absent.returncode == 2
    assert "vif.vnic: interface 'nosuch0': No such device" in absent.stderr
    assert run("host").returncode == 2


def test_a_kept_attachment_that_clashes_now_is_named_and_can_be_forgotten(
    tmp_path: Path, start: Start
) -> None:
    process = start()
    with ControlClient(tmp_path / "control.sock") as client:
        client.attach("vm1", MAC1, 2)
    process.terminate()
    process.wait()
    path = tmp_path / "control.toml"
    path.write_text("[channel]\nhypervisor_port = 2")
    clash = run("host", "--config", path)
    assert clash.returncode == 1
    assert "port 2 of VIF 'vm1' is the hypervisor's" in clash.stderr
    assert "hvchannel-control forget" in clash.stderr
    assert "kept: vm1" in run("forget", "vm9", "--config", path).stderr
    assert run("forget", "vm1", "--config", path).returncode == 0
    start()
