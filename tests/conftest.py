# SPDX-License-Identifier: Apache-2.0
"""In CI hypothesis draws the same examples every time; what it finds elsewhere becomes a regression test."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import settings

settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


@pytest.fixture(autouse=True)
def rights_as_they_were() -> Iterator[None]:
    """A program's `main`, run in this process, would give up what all later tests need."""
    before = _rights()
    yield
    assert _rights() == before


@pytest.fixture(autouse=True)
def logs_as_they_were(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A command that a test calls sets up the logs, to a stderr that is closed after it: no logger may remember it."""
    configure = structlog.configure
    forgetting = {"cache_logger_on_first_use": False}
    monkeypatch.setattr(structlog, "configure", lambda **options: configure(**(options | forgetting)))
    yield
    structlog.reset_defaults()


def _rights() -> list[str]:
    lines = Path("/proc/thread-self/status").read_text().splitlines()
    return [line for line in lines if line.startswith(("CapEff", "CapBnd", "NoNewPrivs"))]
