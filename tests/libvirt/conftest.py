# SPDX-License-Identifier: Apache-2.0
"""Hypervisors without a lab, made once: each test finds them as new."""

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.libvirt.hypervisor import Hypervisor


@pytest.fixture(scope="session")
def _stack() -> Iterator[ExitStack]:
    if os.geteuid() != 0:
        pytest.skip("needs root: makes network namespaces")
    with ExitStack() as stack:
        yield stack


@pytest.fixture(scope="session")
def _bare(tmp_path_factory: pytest.TempPathFactory, _stack: ExitStack) -> Hypervisor:
    return Hypervisor(tmp_path_factory.mktemp("bare"), _stack)


@pytest.fixture(scope="session")
def _running(tmp_path_factory: pytest.TempPathFactory, _stack: ExitStack) -> Hypervisor:
    hypervisor = Hypervisor(tmp_path_factory.mktemp("hypervisor"), _stack)
    hypervisor.start_switch()
    hypervisor.start_controller()
    return hypervisor


@pytest.fixture
def bare(_bare: Hypervisor) -> Iterator[Hypervisor]:
    """On which nothing runs."""
    yield _bare
    _bare.reset()


@pytest.fixture
def hypervisor(_running: Hypervisor) -> Iterator[Hypervisor]:
    """With a vSwitch and its controller."""
    yield _running
    _running.reset()
