# SPDX-License-Identifier: Apache-2.0
"""The PTF suite as `make ptf` runs it, and its runner."""

import contextlib
import os
import re
import select
import signal
import subprocess
from pathlib import Path

import pytest

pytestmark = [pytest.mark.root]

REPOSITORY = Path(__file__).parents[2]
RUN = REPOSITORY / "ptf-tests" / "run"
NAMED = ["--test", "HostForwardHit"]


@pytest.fixture(autouse=True)
def _environment():
    if not (REPOSITORY / ".venv-ptf" / "bin" / "ptf").exists():
        pytest.fail("the PTF suite's environment .venv-ptf is not there: make ptf builds it")


def run(*arguments, **options):
    return subprocess.run([RUN, *arguments], capture_output=True, text=True, check=False, **options)


def kept_logs():
    return set((REPOSITORY / "state" / "ptf").glob("*"))


def interfaces():
    names = (path.name for path in Path("/sys/class/net").iterdir())
    return {name for name in names if re.match(r"(switch|ptf|host|guest)\d|hostd|guestd", name)}


@pytest.mark.timeout(240)
@pytest.mark.parametrize("engine", ["xdp", "interpreter"])
def test_the_whole_suite_passes_on_softswitch(engine):
    listed = run("--list")
    count = int(listed.stdout.split()[-2])
    result = run("--engine", engine)
    assert result.returncode == 0, result.stdout + result.stderr
    line = rf"^{count} passed, 0 failed \(softswitch, engine {engine}, \d+ s\)$"
    assert re.search(line, result.stdout, re.MULTILINE), result.stdout


@pytest.mark.timeout(120)
def test_what_is_pnas_own_passes_on_pna():
    """All of it is `make ptf ARCH=pna`; here what PNA does otherwise: ports, policers, digests, PacketIn."""
    files = ("claim", "const_tables", "digests", "forward", "packet_io", "policer", "verdicts")
    result = run("--arch", "pna", *(part for file in files for part in ("--test", file)))
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r" passed, 0 failed \(softswitch, pna, engine auto, ", result.stdout), result.stdout


def test_pna_is_not_to_be_had_on_bmv2():
    result = run("--arch", "pna", "--target", "bmv2")
    assert result.returncode == 2
    assert "bmv2 has no P4Runtime server for pna: use --target softswitch" in result.stderr


def test_list_names_every_test_with_its_groups_and_what_it_shows():
    listed = run("--list", "--test", "claim")
    assert listed.returncode == 0
    assert re.search(
        r"^  ChainClaimOne +chain +Information for a virtual machine", listed.stdout, re.MULTILINE
    )


@pytest.mark.parametrize("name", ["HostArpMiss", "arp.HostArpMiss"])
def test_a_test_is_called_by_its_class_with_or_without_its_file(name):
    result = run("--list", "--test", name)
    assert result.stdout.endswith("1 tests\n")


def test_an_unknown_name_is_answered_with_what_there_is():
    result = run("--test", "HostArpMis")
    assert result.returncode == 2
    assert "no test, file or group is called 'HostArpMis' (tests like it: HostArpMiss" in result.stderr
    assert "chain, checksums" in result.stderr


def test_a_switch_that_does_not_start_fails_the_tests_with_its_last_words(tmp_path):
    broken = tmp_path / "softswitch"
    broken.write_text("#!/bin/sh\necho out of order >&2\nexit 1\n")
    broken.chmod(0o755)
    before = kept_logs()
    result = run("--switch", broken, *NAMED)
    assert result.returncode == 1
    assert "did not run: host_vswitch's switch does not start: out of order" in result.stdout
    assert "0 passed, 1 failed" in result.stdout
    (logs,) = kept_logs() - before
    assert str(logs) in result.stdout
    subprocess.run(["rm", "-r", logs], check=True)


def test_a_target_that_is_not_there_is_a_usage_error():
    result = run("--switch", "/nowhere/softswitch")
    assert result.returncode == 2
    assert "/nowhere/softswitch is not there" in result.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_run_leaves_nothing_behind(number):
    before = kept_logs()
    with subprocess.Popen([RUN, "--test", "checksums"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().startswith("ok")
        children = descendants(process.pid)
        assert len(children) >= 3
        benches = {namespace for child in children if (namespace := network_namespace(child))}
        benches.discard(network_namespace(os.getpid()))
        assert benches
        process.send_signal(number)
        assert process.wait(30) == (-number if number == signal.SIGKILL else 128 + number)
    wait_until_gone(children)
    assert not interfaces()
    assert not [name for name in pinned() if int(name.split("-")[0]) in benches]
    left = kept_logs() - before
    if number == signal.SIGKILL:  # its logs are all that nobody could remove
        subprocess.run(["rm", "-r", *left], check=True)
    else:
        assert not left


def pinned():
    """Names of switches that are pinned, by default those of namespaces."""
    places = (Path("/run/softswitch"), Path("/sys/fs/bpf/softswitch"))
    return {path.name for place in places for path in place.glob("[0-9]*-*")}


def network_namespace(pid):
    """Its number; None of a process that has ended."""
    try:
        return Path(f"/proc/{pid}/ns/net").stat().st_ino
    except FileNotFoundError:
        return None


def descendants(pid):
    """Ids of all processes below this one."""
    children = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found[1:]


def wait_until_gone(pids):
    for pid in pids:
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            assert select.select([handle], [], [], 10)[0], f"process {pid} outlived the runner"
        finally:
            os.close(handle)
