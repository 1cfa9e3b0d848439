# SPDX-License-Identifier: Apache-2.0
"""One hostd with one honest guestd, for all the hostile guests of a module."""

import contextlib
import shutil
import signal
import socket
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from hvchannel_daemons.feed import SessionState, open_feed

from tests.attacks.protocol.world import HONEST, World, eventually
from tests.daemons.conftest import FakeControl, Processes, serving_control


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    directory = Path(tempfile.mkdtemp(prefix="hvp-"))
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        port = int(probe.getsockname()[1])
    control = FakeControl()
    processes = Processes(directory, port, str(directory / "feed.db"))
    try:
        async with serving_control(control, directory / "control.sock"):
            feed = await open_feed(str(directory / "feed.db"))
            guestd = processes.guestd(HONEST, "127.0.0.11")
            hostd = processes.hostd()
            control.attach(HONEST, "127.0.0.11")
            made = World(
                control, feed, port, hostd, guestd, directory / "hostd.log", directory / HONEST / "guestd.log"
            )

            async def ready() -> bool:
                session = await made.session(HONEST)
                return session is not None and session.state is SessionState.READY

            await eventually(ready, "the honest guest READY")
            await made.honest_is_served(50)  # what hostd needs anyway, it has by now
            yield made
            assert "Traceback" not in made.log.read_text(), made.log.read_text()[-4000:]
            await feed.close()
    finally:
        for process in processes.started:
            with contextlib.suppress(ProcessLookupError):
                process.signal(signal.SIGCONT)
            process.kill()
        shutil.rmtree(directory)


@pytest.fixture
def vif(request: pytest.FixtureRequest) -> str:
    """A VIF of the test's own."""
    name = request.node.name.removeprefix("test_")
    return "".join(c if c.isalnum() else "-" for c in name).strip("-")[:60]
