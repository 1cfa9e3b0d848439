# SPDX-License-Identifier: Apache-2.0
"""Programs of the tests and an engine around them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import structlog
from hvchannel_softswitch.engine import EntryKey
from hvchannel_softswitch.interpreter import Interpreter
from hvchannel_softswitch.model import Program, load

HERE = Path(__file__).parent
PROGRAMS = {path.stem: path for folder in ("programs", "stf") for path in (HERE / folder).glob("*.json")}


@dataclass
class Bench:
    """An engine whose outputs are kept: what it sent, its digests; `now` is its clock, in nanoseconds."""

    program: Program
    now: int = 0
    sent: list[tuple[int, bytes]] = field(default_factory=list)
    digests: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    idle: list[tuple[str, EntryKey]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.engine = Interpreter(
            self.program,
            frames=lambda port, frame: self.sent.append((port, frame)),
            digests=lambda name, values: self.digests.append((name, values)),
            drop_port=511,
            clock=lambda: self.now,
            idle=lambda table, key: self.idle.append((table, key)),
        )

    def run(self, port: int, frame: bytes) -> list[tuple[int, bytes]]:
        """What one frame makes the program send."""
        self.sent.clear()
        self.engine.process(port, frame)
        assert self.engine.faults == 0
        return list(self.sent)


@pytest.fixture(autouse=True)
def _logs_at_their_defaults() -> Iterator[None]:
    """Commands that a test runs in this process set logging up, at levels that hide what the next test looks for."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def program_json() -> Callable[[str], dict[str, Any]]:
    """The JSON of a program, a fresh copy each time."""
    return lambda name: json.loads(PROGRAMS[name].read_text())


@pytest.fixture
def lookup(program_json: Callable[[str], dict[str, Any]]) -> Bench:
    return Bench(load(program_json("lookup")))


@pytest.fixture
def shapes(program_json: Callable[[str], dict[str, Any]]) -> Bench:
    return Bench(load(program_json("shapes")))


@pytest.fixture
def copies(program_json: Callable[[str], dict[str, Any]]) -> Bench:
    return Bench(load(program_json("copies")))


@pytest.fixture
def choice(program_json: Callable[[str], dict[str, Any]]) -> Bench:
    return Bench(load(program_json("choice")))
