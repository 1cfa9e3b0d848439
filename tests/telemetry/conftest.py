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

Start = Callable[..., Path]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts a program of a folder of its own with these arguments and --metrics; returns its metrics' socket, once
    they are served. Every word `DIR` in an argument stands for the folder."""
    with ExitStack() as stack:

        def start_one(program: str, *arguments: str) -> Path:
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
