# SPDX-License-Identifier: Apache-2.0
"""A lab with two VMs for all end-to-end tests: a whole one, in a process of its own. Its vSwitches run in the kernel
where that can be; modules with `ENGINES` have their tests run once more, in a lab with another engine.

What a test gets is `hvchannel_lab.handle.Handle`. Hops to capture at, or to send from:

    host/hostd0   host/hostd0s   host/vnic1   vm1/eth0   vm1/guestd0s   vm1/guestd0
    hostd's own   switch port 1  port 2       the VNIC   switch port 1  guestd's own
"""

import os
from collections.abc import Iterator

import pytest
from hvchannel_lab.background import background_lab
from hvchannel_lab.handle import Handle
from hvchannel_lab.targets import Engine

TRACE_LIMIT = 100_000  # packets per vSwitch, for the tests of the whole session


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests of one engine run together, so that there is one lab at a time."""
    if "lab" in metafunc.fixturenames:
        engines = getattr(metafunc.module, "ENGINES", (Engine.AUTO,))
        metafunc.parametrize("lab", engines, indirect=True, scope="session")


@pytest.fixture(scope="session")
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Handle]:
    """A lab that is up, every VM's daemon reached."""
    state = tmp_path_factory.mktemp("e2e") / "lab"
    name = f"e2e-{os.getpid()}"
    with background_lab(name, state, vms=2, engine=request.param, trace_limit=TRACE_LIMIT) as handle:
        yield handle
