# SPDX-License-Identifier: Apache-2.0
"""The targets, and where a bench with one runs: a network namespace of its own, or a container's."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runner.benches import Bench, Switch

REPOSITORY = Path(__file__).resolve().parents[2]
SOFTSWITCH = REPOSITORY / ".venv" / "bin" / "softswitch"
BMV2 = "simple_switch_grpc"
IMAGE_VARIABLE = "HVCHANNEL_BMV2_IMAGE"
BMV2_IMAGE = "docker.io/p4lang/behavioral-model:latest"
TARGETS = ("softswitch", "bmv2")
ENGINES = ("auto", "xdp", "interpreter")
ARCHITECTURES = {"v1model": 510, "pna": 0xFFFFFFFD}
"""Each with the number of its CPU port."""
CONTAINER_LIFE = "900"  # seconds, should nobody be left to remove it

# The parent's death, even by SIGKILL, is that of all that was started below it; a namespace goes with its last process.
_WITH_PARENT = ["setpriv", "--pdeathsig", "KILL", "--"]
_PROCESSES = ["unshare", "--pid", "--fork", "--kill-child"]
# What softswitch pins outlives its process. With /proc, /run and a bpffs of the bench's own it has no place to be in
# that would outlive the bench: see `own_mounts`.
_MOUNTS = ["--mount-proc"]


class TargetMissingError(Exception):
    """The target is not on this machine; the message says how it would be."""


@dataclass(frozen=True)
class Target:
    """`program` is the switch's command; `image` and `container_engine` say that it is inside a container. `engine` is
    what softswitch runs programs on, `has_thrift` that bmv2 was built with it."""

    name: str
    program: str
    image: str | None = None
    container_engine: str | None = None
    engine: str = ENGINES[0]
    arch: str = "v1model"
    has_thrift: bool = False
    at_once: bool = True  # each batch of tests has switches of its own
    seconds: int = 300  # for a batch

    def __str__(self) -> str:
        arch = "" if self.arch == "v1model" else f", {self.arch}"
        return f"{self.name}{arch}, engine {self.engine}" if self.own_mounts else self.name

    @property
    def own_mounts(self) -> bool:
        """Whether a bench must have a /run and a bpffs of its own."""
        return self.name == "softswitch"

    def commands(self, bench: Bench, logs: Path, container: str | None) -> list[list[str]]:
        """What starts the bench's switches."""
        return [self.command(switch, logs, container) for switch in bench.switches]

    def command(self, switch: Switch, logs: Path, container: str | None) -> list[str]:
        """What starts this switch, ready for a pipeline, its P4Runtime server on the loopback interface."""
        interfaces = [part for number, name in switch.ports.items() for part in ("-i", f"{number}@{name}")]
        common = ["--device-id", "1", "--no-p4", *interfaces]
        server = [
            "--grpc-server-addr",
            f"127.0.0.1:{switch.grpc_port}",
            "--cpu-port",
            str(ARCHITECTURES[self.arch]),
        ]
        if self.name == "softswitch":
            trace = ["--trace-file", str(logs / f"{switch.program}.trace.jsonl")]
            return [self.program, "--engine", self.engine, *common, *trace, "--", *server]
        # Two switches that share a namespace would take the same port.
        thrift = ["--thrift-port", str(switch.grpc_port + 100)] if self.has_thrift else []
        command = [self.program, *common, *thrift, "--log-console", "-L", "debug", "--", *server]
        return command if container is None else [str(self.container_engine), "exec", container, *command]

    @contextlib.contextmanager
    def surroundings(self) -> Iterator[tuple[list[str], str | None]]:
        """The command that enters the network namespace of a new bench, and the container, if it is one's."""
        if self.image is None:
            yield [*_WITH_PARENT, *_PROCESSES, *(_MOUNTS if self.own_mounts else ()), "--net", "--"], None
            return
        assert self.container_engine is not None
        run = [
            "run",
            "--detach",
            "--rm",
            "--network",
            "none",
            "--entrypoint",
            "sleep",
            self.image,
            CONTAINER_LIFE,
        ]
        container = _output(self.container_engine, *run)
        try:
            pid = _output(self.container_engine, "inspect", "--format", "{{.State.Pid}}", container)
            yield [*_WITH_PARENT, "nsenter", f"--net=/proc/{pid}/ns/net", "--", *_PROCESSES, "--"], container
        finally:
            subprocess.run(
                [self.container_engine, "rm", "--force", container], check=False, capture_output=True
            )


def find(name: str, *, engine: str, arch: str, switch: str | None, image: str | None) -> Target:
    """The target of this name. `engine` is softswitch's; `switch` is another build of the target's program; with
    `image` bmv2 is run from that container image even where it is installed. Raises TargetMissingError."""
    if name == "softswitch":
        program = switch or str(SOFTSWITCH)
        if shutil.which(program) is None:
            raise TargetMissingError(f"{program} is not there: run make setup")
        return Target(name, program, engine=engine, arch=arch)
    if arch != "v1model":
        raise TargetMissingError(f"bmv2 has no P4Runtime server for {arch}: use --target softswitch")
    program = switch or BMV2
    if image is None and shutil.which(program) is not None:
        return Target(name, program, has_thrift="--thrift-port" in _help(program))
    container_engine = next((each for each in ("docker", "podman") if _answers(each)), None)
    if container_engine is None:
        raise TargetMissingError(
            f"bmv2 is not on this machine: neither {program} on PATH, nor a docker or podman that answers"
        )
    image = image or os.environ.get(IMAGE_VARIABLE, BMV2_IMAGE)
    return Target(name, BMV2, image, container_engine, has_thrift=True)  # p4lang's images have it


def _help(program: str) -> str:
    return subprocess.run([program, "--help"], check=False, capture_output=True, text=True).stdout


def _answers(engine: str) -> bool:
    return (
        shutil.which(engine) is not None
        and subprocess.run([engine, "info"], check=False, capture_output=True).returncode == 0
    )


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise TargetMissingError(f"{' '.join(command[:2])}: {done.stderr.strip()}")
    return done.stdout.strip()
