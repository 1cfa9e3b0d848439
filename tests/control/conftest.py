# SPDX-License-Identifier: Apache-2.0
"""A real softswitch to control; logs of the code under test go to pytest's log capture."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import structlog


class SoftswitchProcess:
    """A softswitch without ports, serving P4Runtime at `address`. It may be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.address = f"unix:{folder}/p4rt.sock"
        self._log = (folder / "softswitch.log").open("ab")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = Path(sys.executable).with_name("softswitch")
        options = [
            "--no-p4",
            "--device-id",
            "1",
            "--cpu-port",
            "510",
            "--",
            "--grpc-server-addr",
            self.address,
        ]
        self._process = subprocess.Popen([program, *options], stdout=self._log, stderr=self._log)

    def kill(self) -> None:
        """As kill -9 does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def hang(self) -> None:
        """Alive, and silent."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def close(self) -> None:
        self.kill()
        self._log.close()


@pytest.fixture
def new_softswitch(tmp_path: Path) -> Iterator[Callable[[], SoftswitchProcess]]:
    """Makes the softswitch of this test; it is not yet started."""
    with ExitStack() as stack:

        def make() -> SoftswitchProcess:
            process = SoftswitchProcess(tmp_path)
            stack.callback(process.close)
            return process

        yield make


@pytest.fixture
def softswitch(new_softswitch: Callable[[], SoftswitchProcess]) -> SoftswitchProcess:
    """Started."""
    process = new_softswitch()
    process.start()
    return process


@pytest.fixture(autouse=True)
def _logs_are_captured() -> Iterator[None]:
    structlog.configure(
        processors=[structlog.processors.KeyValueRenderer(key_order=["event"])],
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    yield
    structlog.reset_defaults()
