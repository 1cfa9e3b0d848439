# SPDX-License-Identifier: Apache-2.0
"""One bench, from inside its network namespace: `python -m runner.inside JOB`, with a job in JSON.

Standard output is for the tests' reports, one JSON object per line, straight from ptf's process; and for one of this
process's own, {"error": ...}, when the bench itself breaks.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runner import mounts, network
from runner.artefacts import artefacts
from runner.benches import BENCHES, Bench, Switch
from runner.device import Wiring

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 30
NEGATIVE_SECONDS = "0.05"  # how long no frame must come, after the switch has counted the one that was sent
DEVICE_NEGATIVE_SECONDS = "0.5"  # the same of a device, which may count before it sends
POSITIVE_SECONDS = "5"  # how long to wait for a frame that must come
TEST_SECONDS = "60"


class BenchError(Exception):
    """The bench broke, rather than a test failed; the message says where."""


@dataclass(frozen=True)
class Job:
    """`commands` start the bench's switches, in its order. `logs` is made."""

    bench: str
    tests: list[str]
    commands: list[list[str]]
    logs: str
    environment: str  # the tests' virtual environment
    arch: str  # of the programs
    own_mounts: bool  # whether this process is in a mount namespace of its own, to be furnished
    device: dict[str, Any] | None = None  # Wiring: what stands in the place of the bench's switch and cables

    def to_json(self) -> str:
        """The argument of this process."""
        return json.dumps(asdict(self))


def main() -> int:
    """Exit code of ptf; 3 where the bench broke."""
    job = Job(**json.loads(sys.argv[1]))
    bench = BENCHES[job.bench]
    logs = Path(job.logs)
    switches: list[subprocess.Popen[bytes]] = []
    logs.mkdir()
    # Every process in here holds this end of the pipe: whoever reads it to its end knows that all of them are gone.
    reports = os.dup(sys.stdout.fileno())
    try:
        if job.own_mounts:
            mounts.furnish()
        if job.device is None:
            network.lay(bench.cables)
        for switch, command in zip(bench.switches, job.commands, strict=job.device is None):
            with (logs / f"{switch.program}.log").open("wb") as log:
                switches.append(
                    subprocess.Popen(
                        command,
                        stdout=log,
                        stderr=log,
                        stdin=subprocess.DEVNULL,
                        cwd=logs,
                        pass_fds=(reports,),
                    )
                )
        for switch, process in zip(bench.switches, switches, strict=job.device is None):
            _await(switch, process, logs)
        code = _ptf(job, bench, logs, reports)
        for switch, process in zip(bench.switches, switches, strict=job.device is None):
            if process.poll() is not None:
                raise BenchError(
                    f"{switch.program}'s switch ended with {process.returncode}: {_last_words(switch, logs)}"
                )
    except (BenchError, OSError, subprocess.CalledProcessError) as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return 3
    finally:
        for process in switches:
            process.terminate()
        for process in switches:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
    return code


def _await(switch: Switch, process: subprocess.Popen[bytes], logs: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", switch.grpc_port), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise BenchError(f"{switch.program}'s switch does not start: {_last_words(switch, logs)}")


def _last_words(switch: Switch, logs: Path) -> str:
    lines = (logs / f"{switch.program}.log").read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def _ptf(job: Job, bench: Bench, logs: Path, reports: int) -> int:
    parameters: dict[str, int | str] = {"results": reports, "arch": job.arch}
    plugs, negative = bench.plugs, NEGATIVE_SECONDS
    if job.device is not None:
        wiring = Wiring(**job.device)
        parameters |= {"grpcaddr": wiring.grpc_addr, "p4info": wiring.p4info, "config": wiring.config}
        plugs, negative = (
            {f"0-{port}": name for port, name in wiring.interfaces.items()},
            DEVICE_NEGATIVE_SECONDS,
        )
    else:
        for switch in bench.switches:
            p4info, config = artefacts(job.arch, switch.program)
            parameters[f"{switch.prefix}grpcaddr"] = f"127.0.0.1:{switch.grpc_port}"
            parameters[f"{switch.prefix}p4info"] = str(p4info)
            parameters[f"{switch.prefix}config"] = str(config)
    binaries = Path(job.environment) / "bin"
    command = [
        str(binaries / "python"),
        str(binaries / "ptf"),
        "--test-dir",
        str(ROOT / "tests"),
        "--pypath",
        str(ROOT),
    ]
    for port, interface in plugs.items():
        command += ["--interface", f"{port}@{interface}"]
    command += ["--log-dir", str(logs / "ptf"), "--test-case-timeout", TEST_SECONDS]
    command += ["--default-timeout", POSITIVE_SECONDS, "--default-negative-timeout", negative]
    command += [
        "--test-params",
        ";".join(f"{name}={value!r}" for name, value in parameters.items()),
        *job.tests,
    ]
    with (logs / "ptf.log").open("wb") as log:
        return subprocess.run(
            command, stdout=log, stderr=log, pass_fds=(reports,), cwd=logs, check=False
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
