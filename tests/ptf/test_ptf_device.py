# SPDX-License-Identifier: Apache-2.0
"""The PTF suite against a device on the desk: a softswitch that somebody else has started, behind interfaces."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.root]

REPOSITORY = Path(__file__).parents[2]
SUITE = REPOSITORY / "ptf-tests"
PORTS = "1=ptf1,2=ptf2,3=ptf3"
NOWHERE = ["--grpc-addr", "127.0.0.1:9"]

# In network and process namespaces of its own: cables, the "device", and then the suite as anybody runs it.
DESK = """
import json, subprocess, sys
from runner import network
from runner.benches import BENCHES
from runner.inside import _await
from pathlib import Path

arch, softswitch, cpu_port, tests = json.loads(sys.argv[1])
bench = BENCHES["host"]
network.lay(bench.cables)
(switch,) = bench.switches
ports = [part for number, name in switch.ports.items() for part in ("-i", f"{number}@{name}")]
own = ["--grpc-server-addr", f"127.0.0.1:{switch.grpc_port}", "--cpu-port", str(cpu_port)]
command = [softswitch, "--engine", "interpreter", "--device-id", "1", "--no-p4", *ports, "--", *own]
with open("host_vswitch.log", "w") as log:
    device = subprocess.Popen(command, stdout=log, stderr=log)
_await(switch, device, Path())
suite = [sys.argv[2], "--arch", arch, "--grpc-addr", f"127.0.0.1:{switch.grpc_port}", "--port-map", sys.argv[3]]
code = subprocess.run([*suite, *(part for test in tests for part in ("--test", test))]).returncode
print("device lives" if device.poll() is None else "device ended")
sys.exit(code)
"""


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([SUITE / "run", *arguments], capture_output=True, text=True, check=False)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("arch", "cpu_port"), [("v1model", 510), ("pna", 0xFFFFFFFD)])
def test_a_device_that_runs_already_is_tested_over_its_interfaces(
    arch: str, cpu_port: int, tmp_path: Path
) -> None:
    softswitch = str(REPOSITORY / ".venv" / "bin" / "softswitch")
    job = json.dumps([arch, softswitch, cpu_port, ["HostForwardHit", "HostArpMiss", "GuestArpMiss"]])
    command = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]
    command += [sys.executable, "-c", DESK, job, str(SUITE / "run"), PORTS]
    environment = {"PYTHONPATH": str(SUITE), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path
    )
    assert result.returncode == 0, result.stdout + result.stderr
    last = rf"^2 passed, 0 failed \(device at 127\.0\.0\.1:9559, {arch}, \d+ s\)$"
    assert re.search(last, result.stdout, re.MULTILINE), result.stdout
    assert "device lives" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--port-map", "1=lo"], "--port-map describes a device: give its --grpc-addr too"),
        (NOWHERE, "--grpc-addr: give the interfaces at the device's ports too, as --port-map 1=eth1,2=eth2"),
        ([*NOWHERE, "--port-map", "1:lo"], "--port-map: '1:lo' is not PORT=INTERFACE, as in 1=eth1"),
        ([*NOWHERE, "--port-map", "1=nic9"], r"--port-map: no interface 'nic9' here \(there are: .*lo"),
        ([*NOWHERE, "--port-map", "1=lo"], "--port-map has ports 1: the tests of host_vswitch use 1, 2, 3"),
        ([*NOWHERE, "--bench", "guest", "--port-map", "1=lo,2=lo"], "nobody listens at 127.0.0.1:9: "),
        (["--grpc-addr", "9559", "--bench", "guest", "--port-map", "1=lo,2=lo"], "'9559' is not HOST:PORT"),
    ],
)
def test_a_device_that_cannot_be_is_refused_by_the_option_that_is_wrong(
    arguments: list[str], says: str
) -> None:
    result = run("--test", "HostForwardHit", *arguments)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert re.search(says, line), line
