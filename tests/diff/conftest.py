# SPDX-License-Identifier: Apache-2.0
"""Pairs of targets, and where bmv2 is."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hvchannel_lab import bmv2

from .target import Target, World


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "diff: the same frames through two targets, and everything compared")


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Callable[..., tuple[Target, Target]]]:
    """Starts two targets with one world each."""
    with ExitStack() as stack:

        def start(kinds: tuple[str, str], one: World, other: World | None = None) -> tuple[Target, Target]:
            return (
                Target(kinds[0], "a", one, tmp_path, stack),
                Target(kinds[1], "b", other or one, tmp_path, stack),
            )

        yield start


@pytest.fixture(scope="session")
def bmv2_is_here() -> None:
    if shutil.which(bmv2.PROGRAM) is None:
        pytest.skip(f"bmv2 is not here: {bmv2.PROGRAM} is not on PATH (docs/bmv2.md says how to get it)")
