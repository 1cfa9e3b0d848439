# SPDX-License-Identifier: Apache-2.0
"""A lab whose documents come from a nats-server of its own."""

import json
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from hvchannel_lab.background import background_lab
from hvchannel_lab.targets import FeedEngine

from tests.daemons import nats_servers

pytestmark = [
    pytest.mark.root,
    pytest.mark.e2e,
    pytest.mark.skipif(nats_servers.PROGRAM is None, reason=nats_servers.MISSING),
]


def hvchannel(lab: str, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HVCHANNEL_")}
    return subprocess.run(
        [sys.executable, "-m", "hvchannel_lab.cli", *words],
        capture_output=True,
        text=True,
        timeout=90,
        env=environment | {"HVCHANNEL_LAB": lab},
        check=False,
    )


def test_the_journey_and_the_verbs_over_nats(tmp_path: Path) -> None:
    name = f"n{uuid.uuid4().hex[:6]}"
    with background_lab(name, tmp_path / "s", 1, feed_engine=FeedEngine.NATS) as lab:
        shown = hvchannel(name, "journey", "--json")
        assert shown.returncode == 0, shown.stderr
        assert hvchannel(name, "put", "vm1", "greeting", "--text", "one").stdout == "1\n"
        assert hvchannel(name, "wait", "vm1", "greeting").stdout == "1\n"
        (vm,) = json.loads(hvchannel(name, "status", "--json").stdout)["vifs"]
        assert (vm["vif"], vm["state"], vm["link"], vm["switch"]) == ("vm1", "READY", "up", "in sync")
        # the lab's server is killed: its successor has the documents, and hostd finds it
        lab.wait_restarted("host/nats", lab.kill("host/nats", signal.SIGKILL))
        assert hvchannel(name, "put", "vm1", "greeting", "--text", "two").stdout == "2\n"
        assert hvchannel(name, "wait", "vm1", "greeting").stdout == "2\n"
        assert lab.read_in_guest("vm1", "greeting") == b"two"
        listening = [
            line.split()[3] for line in lab.run_in("host", ["ss", "-Htln"]).stdout.decode().splitlines()
        ]
        assert listening == ["127.0.0.1:4222"]
