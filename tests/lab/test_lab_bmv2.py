# SPDX-License-Identifier: Apache-2.0
"""A lab on bmv2's simple_switch_grpc: from PATH, or how it would be run in a container."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hvchannel_lab import bmv2
from hvchannel_lab.processes import host_programs, vm_programs
from hvchannel_lab.targets import Target
from hvchannel_lab.topology import plan

ROOT = Path(__file__).parents[2]


def executable(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def path_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and the only one on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv(bmv2.IMAGE_VARIABLE, raising=False)
    return folder


def test_the_program_of_path_comes_before_any_container(path_is: Path, tmp_path: Path) -> None:
    executable(path_is, "docker")
    program = executable(path_is, bmv2.PROGRAM)
    assert bmv2.command("ns", tmp_path, ["--no-p4"]) == [str(program), "--no-p4"]


@pytest.mark.parametrize("engines", [["docker", "podman"], ["podman"]])
def test_else_the_official_image_enters_the_labs_namespace(
    path_is: Path, tmp_path: Path, engines: list[str]
) -> None:
    first, *_ = [executable(path_is, engine) for engine in engines]
    engine, *words = bmv2.command("hvc-x-hv", tmp_path, ["--no-p4"])
    assert engine == str(first)
    assert f"{tmp_path}:{tmp_path}" in words
    assert "/run/netns/hvc-x-hv:/run/hvc-x-hv" in words
    assert words[-5:] == [bmv2.IMAGE, "--net=/run/hvc-x-hv", "--", bmv2.PROGRAM, "--no-p4"]


def test_another_image_may_be_named(path_is: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executable(path_is, "docker")
    monkeypatch.setenv(bmv2.IMAGE_VARIABLE, "example.test/bmv2:mine")
    assert "example.test/bmv2:mine" in bmv2.command("ns", tmp_path, [])


def test_the_compose_file_names_the_same_image() -> None:
    assert bmv2.IMAGE in (ROOT / "containers/compose.yaml").read_text()


def test_without_any_of_them_the_error_says_what_would_do(path_is: Path, tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match="target bmv2: neither simple_switch_grpc nor one of docker, podman"
    ):
        bmv2.command("ns", tmp_path, [])


def test_both_vswitches_run_on_the_target(path_is: Path, tmp_path: Path) -> None:
    executable(path_is, bmv2.PROGRAM)
    topology = plan("x", tmp_path, 1, target=Target.BMV2)
    host = host_programs(topology, topology.hypervisor)
    for program in (host[0], vm_programs(topology, topology.vms[0])[0]):
        assert program.name == "bmv2"
        options, own = (
            program.argv[: program.argv.index("--")],
            program.argv[program.argv.index("--") + 1 :],
        )
        assert Path(options[0]).name == bmv2.PROGRAM
        assert own[:2] == ("--grpc-server-addr", f"unix:{topology.p4runtime_socket(program.who)}")
        assert own[2:] == ("--cpu-port", "510")


@pytest.mark.root
@pytest.mark.e2e
@pytest.mark.skipif(shutil.which(bmv2.PROGRAM) is None, reason=f"bmv2 is not here: no {bmv2.PROGRAM} on PATH")
def test_the_journey_is_shown_by_counters_and_captures(tmp_path: Path) -> None:
    name, state = f"t-lab-{os.getpid()}-bm", tmp_path / "s"
    command = [sys.executable, "-m", "hvchannel_lab.cli", "run", "--target", "bmv2", "--vms", "1", "--json"]
    done = subprocess.run(
        [*command, "--name", name, "--state", str(state)],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (journey,) = json.loads(done.stdout)
    there = {element["number"]: element for element in journey["there"]}
    assert list(there) == [str(number) for number in range(1, 11)]
    assert len(journey["back"]) == 6
    for number in ("3", "5", "9"):
        sources = " ".join(there[number]["sources"])
        assert "P4Runtime read of" in sources
        assert "counter +" in sources
        assert "trace" not in sources
    assert not list(state.glob("*/trace.jsonl"))
