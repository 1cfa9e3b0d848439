# SPDX-License-Identifier: Apache-2.0
"""What is given up is gone: from the process, its threads, and (unless asked otherwise) from what it starts."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hvchannel_privilege.capabilities import Capability
from hvchannel_privilege.reach import needs_override

pytestmark = pytest.mark.root

SHOW = """
import json, re, subprocess, sys, threading
from pathlib import Path
from hvchannel_privilege.capabilities import Capability
from hvchannel_privilege.start import give_up
def status(path):
    return dict(re.findall(r"^(\\w+):\\s*(\\S*)", Path(path).read_text(), re.MULTILINE))
give_up({keep}, writes={writes}, but_not_of_children={children})
seen = dict(own=status("/proc/self/status"))
thread = threading.Thread(target=lambda: seen.update(thread=status("/proc/thread-self/status")))
thread.start(); thread.join()
child = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True, check=True).stdout
seen["child"] = dict(re.findall(r"^(\\w+):\\s*(\\S*)", child, re.MULTILINE))
print(json.dumps(seen))
"""


def shown(
    keep: str = "[]", *, writes: str = "[]", children: bool = False, before: tuple[str, ...] = ()
) -> dict[str, dict[str, str]]:
    code = SHOW.format(keep=keep, writes=writes, children=children)
    ended = subprocess.run(
        [*before, sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    found: dict[str, dict[str, str]] = json.loads(ended.stdout.splitlines()[-1])
    return found


def mask(*kept: Capability) -> str:
    return f"{sum(1 << one for one in kept):016x}"


def test_what_is_not_kept_is_gone_from_threads_and_children_too() -> None:
    for status in shown("[Capability.NET_RAW]").values():
        assert status["CapEff"] == status["CapPrm"] == status["CapBnd"] == mask(Capability.NET_RAW)
        assert (status["CapInh"], status["CapAmb"], status["NoNewPrivs"]) == (mask(), mask(), "1")


def test_children_may_be_spared() -> None:
    """As guestd's hooks are."""
    found = shown(children=True)
    assert found["own"]["CapEff"] == found["thread"]["CapPrm"] == mask()
    everything = Path("/proc/self/status").read_text()
    assert found["child"]["CapEff"] == dict(re.findall(r"(\w+):\s*(\S+)", everything))["CapBnd"]
    assert found["child"]["NoNewPrivs"] == "0"


def test_who_has_nothing_gives_up_nothing_and_goes_on() -> None:
    found = shown("[Capability.NET_RAW]", before=("setpriv", "--bounding-set=-all"))
    assert found["own"]["CapEff"] == mask()


def test_root_keeps_the_way_to_what_is_somebody_elses(tmp_path: Path) -> None:
    """A clone in a home directory, under sudo: without it every write there would fail."""
    home = tmp_path / "home"
    inner = home / "clone" / "state"
    inner.mkdir(parents=True)
    tmp_path.chmod(0o755)
    (inner / "own").touch()
    assert needs_override(writes=[inner / "own", inner / "new"]) is None
    home.chmod(0o700)
    os.chown(home, 65534, 65534)
    assert needs_override(writes=[inner / "own"]) == inner / "own"
    assert needs_override(writes=[], reads=[inner]) == inner
    home.chmod(0o711)
    assert needs_override(writes=[inner / "own"], reads=[inner]) is None
    os.chown(inner / "own", 65534, 65534)
    assert needs_override(writes=[inner / "new", inner / "own"]) == inner / "own"
    assert needs_override(writes=[], reads=[inner / "own"]) is None  # mode 0644
    found = shown(writes=f"[Path({str(inner / 'own')!r})]")
    assert found["own"]["CapEff"] == mask(Capability.DAC_OVERRIDE)


def test_guestd_gives_its_own_up_and_leaves_hooks_theirs(tmp_path: Path) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir(mode=0o755)
    arguments = f"--listen 127.0.0.1:0 --state {tmp_path}/state --socket {tmp_path}/s --hooks {hooks}".split()
    code = "from hvchannel_daemons.guestd.main import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, "run", *arguments], stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None
            deadline = time.monotonic() + 60
            while '"listening"' not in (line := process.stderr.readline()):
                assert line and time.monotonic() < deadline
            for task in Path(f"/proc/{process.pid}/task").iterdir():
                status = dict(re.findall(r"^(\w+):\s*(\S*)", (task / "status").read_text(), re.MULTILINE))
                assert status["CapEff"] == status["CapPrm"] == mask(Capability.KILL)
                assert status["CapBnd"] != mask(Capability.KILL)
                assert status["NoNewPrivs"] == "0"
        finally:
            process.terminate()
            process.communicate(timeout=60)
