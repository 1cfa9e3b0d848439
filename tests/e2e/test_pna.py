# SPDX-License-Identifier: Apache-2.0
"""The channel over the PNA programs: the same controllers, daemons and tools, and claim 1 element by element."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hvchannel_lab import journey, packet_trace
from hvchannel_lab.background import background_lab
from hvchannel_lab.handle import Handle
from hvchannel_lab.targets import Architecture

pytestmark = [pytest.mark.root, pytest.mark.e2e]


@pytest.fixture(scope="module")
def pna_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Handle]:
    state = tmp_path_factory.mktemp("pna") / "lab"
    with background_lab(f"pna-{os.getpid()}", state, vms=1, architecture=Architecture.PNA) as handle:
        yield handle


def test_the_claims_elements_are_shown_of_one_packet(pna_lab: Handle) -> None:
    (shown,) = journey.observe(pna_lab)
    assert [element.number for element in shown.there] == [str(number) for number in range(1, 11)]
    assert [element.number for element in shown.back] == ["R1", "R2", "R3", "R4", "R5", "R6"]


def test_the_programs_are_those_of_pna(pna_lab: Handle) -> None:
    """The controller has entered in PNA's own table each port that the channel uses."""
    for who, ports in (("host", {1, 2}), ("vm1", {1, 2})):
        entries = pna_lab.switch_tables(who, "transmit")["transmit"]
        assert {entry.match["port"] for entry in entries} == ports
        assert all((entry.action, entry.args) == ("send", entry.match) for entry in entries)


def test_a_packets_trace_ends_at_the_port_that_pna_looks_up(pna_lab: Handle) -> None:
    trace = packet_trace.follow(pna_lab, "vm1")
    for passage in (*trace.there, *trace.back):
        hits = [line.split()[0] for line in passage.tables if " hit: " in line]
        assert (hits[0], hits[-1]) == ("attachment", "transmit")


def test_a_probe_passes(pna_lab: Handle) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HVCHANNEL_")}
    argv = [
        sys.executable,
        "-m",
        "hvchannel_lab.cli",
        "--lab",
        pna_lab.topology.name,
        "diagnose",
        "vm1",
        "--json",
    ]
    shown = subprocess.run(argv, capture_output=True, text=True, timeout=60, env=environment, check=False)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    told = json.loads(shown.stdout)
    assert (told["healthy"], [hop["state"] for hop in told["hops"]]) == (True, ["ok"] * 7)
