# SPDX-License-Identifier: Apache-2.0
"""At the lowest level, libraries' included, logs hold nothing of a document, a report or a credential."""

import asyncio
import base64
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hvchannel_daemons import logs
from hvchannel_daemons.feed import Access, Feed, FeedError, open_feed
from hvchannel_daemons.guestd.client import GuestClient
from hypothesis import HealthCheck, given, settings, strategies

from .nats_servers import MISSING, PROGRAM, NatsServer, free_ports

SECRETS = strategies.binary(min_size=12, max_size=64) | strategies.text(min_size=8).map(str.encode)
PASSWORDS = strategies.text("abcdefghijkmnpqrstuvwxyz23456789", min_size=16, max_size=16)
QUICK = settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def everything() -> Iterator[None]:
    """All is logged to stderr; as before afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    logs.set_up("debug", True)
    root.setLevel(logging.DEBUG)
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in logs.OWN:
        logging.getLogger(name).setLevel(logging.NOTSET)


def forms(secret: bytes) -> set[str]:
    """As a log could hold it."""
    text = {secret.hex(), base64.b64encode(secret).decode().rstrip("="), repr(secret)[2:-1]}
    return {form for form in text | {secret.decode(errors="replace")} if len(form) >= 8}


async def test_of_documents_and_reports(
    everything, rig, control, feed: Feed, port, short_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with rig.guestd(short_dir / "vm1", f"127.0.0.11:{port}"), rig.hostd(short_dir, port):
        control.attach("vm1", "127.0.0.11")

        @QUICK
        @given(content=SECRETS, data=SECRETS)
        async def deliver(content: bytes, data: bytes) -> None:
            revision = await feed.put("vm1", "key", content, "text/plain")

            def answer() -> None:
                with GuestClient(short_dir / "vm1" / "guestd.sock") as client:
                    client.report("answer", data, about_key="key")

            await asyncio.to_thread(answer)
            async with asyncio.timeout(30):
                await feed.settled("vm1", "key", revision)
            written = capsys.readouterr().err
            seen.append(written)
            assert not [form for form in forms(content) | forms(data) if form in written]

        seen: list[str] = []
        await asyncio.to_thread(_in_this_loop, deliver, asyncio.get_running_loop())
        assert any('"event": "session"' in written for written in seen)


def _in_this_loop(test, loop: asyncio.AbstractEventLoop) -> None:
    """Runs each example of a hypothesis test, from another thread, on the loop where the daemons are."""
    inner = test.hypothesis.inner_test

    def one(**arguments: bytes) -> None:
        asyncio.run_coroutine_threadsafe(inner(**arguments), loop).result(60)

    test.hypothesis.inner_test = one
    test()


@pytest.mark.skipif(PROGRAM is None, reason=MISSING)
async def test_of_credentials(everything, short_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (port,) = free_ports(1)
    server = NatsServer(short_dir / "nats", port, "authorization { user: hv, password: not-this-one }").start(
        wait=False
    )
    file = short_dir / "credentials"
    try:

        @QUICK
        @given(password=PASSWORDS)
        async def refused(password: str) -> None:
            file.write_text(f"hv:{password}\n")
            file.chmod(0o600)
            with pytest.raises(FeedError) as caught:
                await open_feed(f"{server.url}/site", Access(credentials=file))
            assert password not in str(caught.value)
            assert password not in capsys.readouterr().err

        await asyncio.to_thread(_in_this_loop, refused, asyncio.get_running_loop())
    finally:
        server.stop()
