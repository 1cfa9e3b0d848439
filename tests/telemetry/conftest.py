# SPDX-License-Identifier: Apache-2.0
"""Real processes, each alone, that serve their metrics."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hvchannel_telemetry.scrape import ScrapeError, scrape

BIN = Path(sys.executable).parent
DEADLINE_S = 60.0

PROGRAM = Path(__file__).parents[2] / "p4src/compiled/host_vswitch.json"

PROCESSES = {
    "softswitch": (
        *("softswitch", "--engine", "interpreter", str(PROGRAM)),
        *("--", "--grpc-server-addr", "unix:DIR/p4rt.sock", "--cpu-port", "510"),
    ),
    "hvchannel-control": ("hvchannel-control", "host", "--config", "DIR/control.toml", "--metrics-per-vif"),
    "hostd": (
        *("hostd", "--control", "DIR/no-control.sock", "--feed", "DIR/feed.db"),
        *("--socket", "DIR/hostd.sock", "--metrics-per-vif"),
    ),
    "guestd": ("guestd", "run", "--listen", "127.0.0.1:0", "--state", "DIR", "--socket", "DIR/guestd.sock"),
}
"""Command lines by what they are."""

Start = Callable[..., Path]


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts a program of a folder of its own with these arguments and --metrics; returns its metrics' socket, once
    they are served; once per command line. `DIR` in an argument stands for the folder."""
    started: dict[tuple[str, ...], Path] = {}
    with ExitStack() as stack:

        def start_one(program: str, *arguments: str) -> Path:
            if (program, *arguments) in started:
                return started[program, *arguments]
            folder = tmp_path_factory.mktemp(program)
            (folder / "control.toml").touch()
            words = [word.replace("DIR", str(folder)) for word in arguments]
            metrics = folder / "metrics.sock"
            log = stack.enter_context((folder / "log").open("wb"))
            process = subprocess.Popen(
                [BIN / program, *words, "--metrics", f"unix:{metrics}"], stdout=log, stderr=log
            )
            stack.callback(_end, process)
            deadline = time.monotonic() + DEADLINE_S
            while True:
                try:
                    scrape(metrics)
                    started[program, *arguments] = metrics
                    return metrics
                except ScrapeError:
                    assert process.poll() is None, (folder / "log").read_text()
                    assert time.monotonic() < deadline, (folder / "log").read_text()
                    time.sleep(0.05)

        yield start_one


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(DEADLINE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
