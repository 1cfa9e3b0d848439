# SPDX-License-Identifier: Apache-2.0
"""Runs one end of a measurement: a module of this package as a process in a namespace.

It says "ready" when the other end may begin, takes the end of its standard input as the word to stop, and prints its
result as one line of JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hvchannel_lab.namespaces import command_in

_ROOT = Path(__file__).parents[2]
READY = "ready"


class TrafficError(RuntimeError):
    """A measurement that came to nothing; says between which ends."""


@contextmanager
def running(namespace: str, module: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The module as a process in the namespace; killed, if it still runs, when the block ends."""
    command = command_in(namespace, [sys.executable, "-m", module, *arguments])
    with subprocess.Popen(
        command,
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for the benchmark, which ends its programs in order
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until_ready(process: subprocess.Popen[str]) -> None:
    """Raises TrafficError when the program ends instead."""
    assert process.stdout is not None
    if process.stdout.readline().strip() != READY:
        raise TrafficError(f"{_name(process)} did not start (exit code {process.wait()})")


def say_ready() -> None:
    """To whoever waits for this program."""
    print(READY, flush=True)


def result(process: subprocess.Popen[str], within: float) -> dict[str, Any]:
    """Tells the program to stop, and returns what it measured. Raises TrafficError."""
    try:
        output, _ = process.communicate(timeout=within)
    except subprocess.TimeoutExpired:
        raise TrafficError(f"{_name(process)} has no result after {within:g} s") from None
    if process.returncode != 0:
        raise TrafficError(f"{_name(process)} failed with exit code {process.returncode}")
    measured: dict[str, Any] = json.loads(output)
    return measured


def _name(process: subprocess.Popen[str]) -> str:
    # What command_in puts before the program is of no interest here.
    command = [str(word) for word in process.args]  # type: ignore[union-attr] # a list, as running() made it
    return " ".join(command[command.index("--") + 1 :])
