# SPDX-License-Identifier: Apache-2.0
"""A real target to control; logs of the code under test go to pytest's log capture."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import structlog


class SwitchProcess:
    """A target without ports, serving P4Runtime at `address`. It may be killed and started again."""

    def __init__(self, program: str | Path, folder: Path) -> None:
        self.address = f"unix:{folder}/p4rt.sock"
        self._program = program
        self._log = (folder / "switch.log").open("ab")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = ["--no-p4", "--device-id", "1"]
        own = ["--grpc-server-addr", self.address, "--cpu-port", "510"]
        command = [self._program, *options, "--", *own]
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log)

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


@pytest.fixture(params=["softswitch", "simple_switch_grpc"])
def new_switch(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], SwitchProcess]]:
    """Makes the target of this test, softswitch or bmv2's; it is not yet started."""
    program: str | Path | None = Path(sys.executable).with_name("softswitch")
    if request.param != "softswitch":
        program = shutil.which(request.param)
    if program is None:
        pytest.skip(f"bmv2 is not here: {request.param} is not on PATH (docs/bmv2.md says how to get it)")
    with ExitStack() as stack:

        def make() -> SwitchProcess:
            process = SwitchProcess(program, tmp_path)
            stack.callback(process.close)
            return process

        yield make


@pytest.fixture
def target(new_switch: Callable[[], SwitchProcess]) -> SwitchProcess:
    """Started."""
    process = new_switch()
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
