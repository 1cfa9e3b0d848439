# SPDX-License-Identifier: Apache-2.0
"""`hvchannel metrics`, `health` and `log-level`, of every process of a lab, as an operator uses them."""

import json
import signal
import subprocess
import sys

import pytest
from hvchannel_lab.handle import Handle
from prometheus_client.parser import text_string_to_metric_families

pytestmark = [pytest.mark.root, pytest.mark.e2e]


def hvchannel(lab: Handle, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "hvchannel_lab.cli", *arguments, "--name", lab.topology.name]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def observed(lab: Handle) -> list[str]:
    return [name for name in lab.processes() if name.rpartition("/")[2] not in ("workload", "nats")]


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(text)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def test_metrics_of_all_processes_come_together_and_tell_of_a_document(lab: Handle) -> None:
    vif = lab.vms[0].vif
    lab.wait_acked(vif, "observed", lab.put(vif, "observed", b"a document"))
    result = hvchannel(lab, "metrics")
    assert result.returncode == 0, result.stderr
    found = samples(result.stdout)
    assert {dict(labels)["process"] for _, labels in found} == set(observed(lab))
    host = ("process", "host/hostd")
    assert found["hvchannel_hostd_sessions", frozenset({host, ("state", "ready")})] == 2
    assert found["hvchannel_hostd_ack_latency_seconds_count", frozenset({host})] >= 1
    guest = ("process", f"{lab.vms[0].name}/guestd")
    assert found["hvchannel_guestd_acks_total", frozenset({guest, ("outcome", "stored")})] >= 1
    control = ("process", "host/control")
    assert (
        found["hvchannel_control_verdict_packets_total", frozenset({control, ("verdict", "forwarded")})] > 0
    )
    assert found["softswitch_pipeline_commits_total", frozenset({("process", "host/softswitch")})] == 1


def test_every_line_of_a_guest_says_whose_it_is(lab: Handle) -> None:
    vm = lab.vms[0]
    lines = [
        json.loads(line) for line in (lab.topology.folder(vm.name) / "guestd.log").read_text().splitlines()
    ]
    since = next(n for n, line in enumerate(lines) if line["event"] == "session_begins")
    assert {line.get("vif") for line in lines[since:]} == {vm.vif}


def test_one_process_is_named_or_the_valid_ones_are(lab: Handle) -> None:
    result = hvchannel(lab, "metrics", "host/hostd")
    assert "\nhvchannel_hostd_feed_connected 1.0\n" in result.stdout
    assert "process=" not in result.stdout
    wrong = hvchannel(lab, "metrics", "host/hosted")
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("hvchannel: process 'host/hosted' tells nothing of itself (valid: host/")
    assert wrong.stderr.count("\n") == 1


def test_health_names_what_is_broken_and_is_well_again(lab: Handle) -> None:
    def health() -> dict[str, dict[str, str]]:
        answer: dict[str, dict[str, str]] = json.loads(hvchannel(lab, "health", "--json").stdout)
        return answer

    def well() -> bool | None:
        return hvchannel(lab, "health").returncode == 0 or None

    lab.until(well, "all is well")
    assert set(health()) == set(observed(lab))
    vm = lab.vms[0].name
    pid = lab.pid(f"{vm}/control")
    stopped = lab.process(f"{vm}/control")
    lab.kill(f"{vm}/control", signal.SIGSTOP)
    try:
        result = hvchannel(lab, "health", "--json")
        assert result.returncode == 1
        broken = {
            name: parts
            for name, parts in json.loads(result.stdout).items()
            if set(parts.values()) != {"serving"}
        }
        assert set(broken) == {f"{vm}/control"}
        assert "no answer at" in broken[f"{vm}/control"]["process"]
    finally:
        lab.kill(f"{vm}/control", signal.SIGCONT)
    assert lab.pid(f"{vm}/control") == pid == stopped.pid
    lab.until(well, "all is well again")


def test_the_log_level_changes_while_a_process_runs(lab: Handle) -> None:
    process = f"{lab.vms[0].name}/guestd"

    def levels(*arguments: str) -> list[str]:
        result = hvchannel(lab, "log-level", process, *arguments)
        assert result.returncode == 0, result.stderr
        return result.stdout.splitlines()

    before = lab.pid(process)
    assert levels()[0] == "all  info"
    assert levels("debug", "--for", "10m") == ["all  debug  for 600 s more"]
    assert levels("reset") == ["all  info"]
    wrong = hvchannel(lab, "log-level", process, "loud")
    assert wrong.returncode == 2
    assert "log level 'loud' is not known (valid: debug, info, warning, error, reset)" in wrong.stderr
    assert lab.pid(process) == before
