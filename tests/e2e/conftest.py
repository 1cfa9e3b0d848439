# SPDX-License-Identifier: Apache-2.0
"""One lab with two VMs for all end-to-end tests: a whole one, in a process of its own.

What a test gets is `hvchannel_lab.handle.Handle`. Hops to capture at, or to send from:

    host/hostd0   host/hostd0s   host/vnic1   vm1/eth0   vm1/guestd0s   vm1/guestd0
    hostd's own   switch port 1  port 2       the VNIC   switch port 1  guestd's own
"""

import os
from collections.abc import Iterator

import pytest
from hvchannel_lab.background import background_lab
from hvchannel_lab.handle import Handle

TRACE_LIMIT = 100_000  # packets per vSwitch, for the tests of the whole session


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Handle]:
    """A lab that is up, every VM's daemon reached."""
    state = tmp_path_factory.mktemp("e2e") / "lab"
    with background_lab(f"e2e-{os.getpid()}", state, vms=2, trace_limit=TRACE_LIMIT) as handle:
        yield handle
