# SPDX-License-Identifier: Apache-2.0
"""A switch as a process of the benchmark's own: started in a namespace, waited for, ended with the route."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from hvchannel_lab.namespaces import command_in

_READY_WITHIN = 60.0
_GONE_WITHIN = 10.0


class SwitchError(RuntimeError):
    """A switch that did not come up; with the end of what it said."""


@contextmanager
def running(
    command: Sequence[str],
    namespace: str | None,
    folder: Path,
    ready: Path,
    environment: Mapping[str, str] | None = None,
) -> Iterator[int]:
    """The pid of the command, once the file `ready` is there. What it says goes to a log in `folder`.

    Raises SwitchError, OSError.
    """
    log = folder / f"{Path(command[0]).name}.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command_in(namespace, command),
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for the benchmark, which ends its switches in order
        ) as process,
    ):
        try:
            _wait_for(ready, process, log)
            yield process.pid
        finally:
            process.terminate()
            try:
                process.wait(_GONE_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_for(ready: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _READY_WITHIN
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            state = "runs, but" if process.returncode is None else f"ended with {process.returncode}, and"
            said = log.read_text(errors="replace").strip()[-500:]
            raise SwitchError(f"{log.stem} {state} does not serve {ready}; it said: {said or 'nothing'}")
        time.sleep(0.02)
