# SPDX-License-Identifier: Apache-2.0
"""A healthy channel is called so, whichever engine its vSwitches run on: a probe passes both, there and back."""

import json
import os
import subprocess
import sys

import pytest
from hvchannel_lab.targets import Engine

pytestmark = [pytest.mark.root, pytest.mark.e2e]
ENGINES = (Engine.AUTO, Engine.INTERPRETER)


def test_a_healthy_channel(lab):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HVCHANNEL_")}
    argv = [
        sys.executable,
        "-m",
        "hvchannel_lab.cli",
        "--lab",
        lab.topology.name,
        "diagnose",
        "vm1",
        "--json",
    ]
    shown = subprocess.run(argv, capture_output=True, text=True, timeout=60, env=environment, check=False)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    told = json.loads(shown.stdout)
    assert (told["healthy"], told["broken"]) == (True, None)
    assert [hop["state"] for hop in told["hops"]] == ["ok"] * 7
    assert told["hops"][5]["evidence"] == "answers to the probe came back: ping yes, TCP yes"
