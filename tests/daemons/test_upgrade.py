# SPDX-License-Identifier: Apache-2.0
"""A running system is upgraded part by part, to a release that speaks a later version of the channel's protocol, while
documents change and reports come all the time."""

import asyncio
import itertools
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from grpc_tools import protoc
from hvchannel_daemons.channel.versions import SPOKEN
from hvchannel_daemons.feed import Feed, Session, SessionState
from hvchannel_daemons.guestd.client import GuestClient

from tests.daemons import release

KEYS = [f"k{n}" for n in range(8)]
STAGE = 40  # documents that are acknowledged between two steps
PATIENCE = 60.0


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """channel_pb2.py of the next release."""
    root = Path(__file__).parents[2] / "daemons"
    inside = "hvchannel_daemons/channel/channel.proto"
    text = (root / inside).read_text()
    for line, addition in release.LATER_FIELDS.items():
        assert text.count(line) == 1, line
        text = text.replace(line, f"  {addition}\n{line}")
    there = tmp_path_factory.mktemp("next")
    (there / inside).parent.mkdir(parents=True)
    (there / inside).write_text(text)
    assert protoc.main(["protoc", f"-I{there}", f"--python_out={there}", str(there / inside)]) == 0
    return there / "hvchannel_daemons/channel/channel_pb2.py"


@dataclass
class Part:
    """hostd or guestd, of one release after the other."""

    program: str
    arguments: list[str]
    stubs: Path
    directory: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def applied(self) -> Path:
        return self.directory / "applied"

    @property
    def log(self) -> Path:
        return self.directory / f"{self.program}.log"

    def start(self, which: str) -> None:
        what = [release.__file__, which, str(self.stubs), str(self.applied), self.program, *self.arguments]
        with self.log.open("a") as log:
            self.process = subprocess.Popen([sys.executable, *what], stdout=log, stderr=log)

    def end(self, number: signal.Signals) -> None:
        """It must have run until now."""
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()[-2000:]
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE)
        assert code == (0 if number == signal.SIGTERM else -number), self.log.read_text()[-2000:]


@pytest.fixture
def parts(stubs: Path, short_dir: Path, port: int, feed_at: str) -> Iterator[dict[str, Part]]:
    guest = f"run --listen 127.0.0.11:{port} --state {short_dir}/store --socket {short_dir}/guestd.sock"
    host = f"--control {short_dir}/control.sock --host hv1 --feed {feed_at} --port {port} --heartbeat 0.3"
    both = {
        "guestd": Part("guestd", guest.split(), stubs, short_dir),
        "hostd": Part("hostd", host.split(), stubs, short_dir),
    }
    yield both
    for part in both.values():
        if part.process is not None and part.process.poll() is None:
            part.process.kill()
            part.process.wait()


@dataclass
class Traffic:
    """Documents that change without a pause, reports that come without one; and what was promised of them."""

    feed: Feed
    socket: Path
    contents: dict[tuple[str, int], bytes | None] = field(default_factory=dict)
    acknowledged: set[tuple[str, int]] = field(default_factory=set)
    reported: int = 0
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def change(self) -> None:
        chance = random.Random(6)
        for count in itertools.count():
            if self.stop.is_set():
                return
            key = chance.choice(KEYS)
            content = f"{count} ".encode() * chance.choice([1, 50, 60_000])
            if chance.random() < 0.1 and (key, 1) in self.contents:
                revision = await self.feed.delete("vm1", key)
                if revision is not None:  # else it was deleted already
                    self.contents[key, revision] = None
            else:
                revision = await self.feed.put("vm1", key, content, "text/plain")
                self.contents[key, revision] = content
            await asyncio.sleep(chance.random() * 0.02)

    async def hear(self) -> None:
        while not self.stop.is_set():
            for delivery in await self.feed.deliveries("vm1"):
                if delivery.acknowledged:
                    self.acknowledged.add((delivery.document.key, delivery.acknowledged))
            await asyncio.sleep(0.02)

    async def report(self) -> None:
        while not self.stop.is_set():
            await asyncio.to_thread(self._report)
            await asyncio.sleep(0.05)

    def _report(self) -> None:
        with GuestClient(self.socket) as client:
            client.report("count", str(self.reported).encode(), wait_seconds=PATIENCE)
        self.reported += 1

    async def goes_on(self) -> None:
        """Until a good many more documents have been acknowledged."""
        enough = len(self.acknowledged) + STAGE

        async def heard() -> bool:
            return len(self.acknowledged) >= enough

        await until(heard)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not await condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("first", ["guestd", "hostd"])
async def test_upgraded_part_by_part_under_changing_documents(
    control, feed: Feed, parts: dict[str, Part], short_dir: Path, first: str
) -> None:
    """Nothing acknowledged is lost, nothing has its effect twice, and in the end both speak the later version; until
    then a session uses nothing of it, which `release` watches at both ends. The first part is stopped for this, the
    second killed."""
    second = "hostd" if first == "guestd" else "guestd"
    traffic = Traffic(feed, short_dir / "guestd.sock")
    for part in parts.values():
        part.start("this")
    control.attach("vm1", "127.0.0.11")
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(work()) for work in (traffic.change, traffic.hear, traffic.report)]
        try:
            assert (await session_is_ready(feed)).version == SPOKEN.greatest
            await traffic.goes_on()
            for upgraded, number, spoken in (
                (first, signal.SIGTERM, SPOKEN.greatest),
                (second, signal.SIGKILL, SPOKEN.greatest + 1),
            ):
                part = parts[upgraded]
                sessions = (await feed.sessions())["vm1"].since_unix_ns
                await asyncio.to_thread(part.end, number)
                part.start("next")
                assert (await session_is_ready(feed, since=sessions)).version == spoken
                await traffic.goes_on()
        finally:
            traffic.stop.set()
            with suppress(TimeoutError):
                await asyncio.wait(running, timeout=PATIENCE)
    await check(feed, traffic, parts)


async def session_is_ready(feed: Feed, *, since: int = 0) -> Session:
    """The session that began after another."""
    async with asyncio.timeout(PATIENCE):
        while True:
            session = (await feed.sessions()).get("vm1")
            if session is not None and session.state is SessionState.READY and session.since_unix_ns > since:
                return session
            await asyncio.sleep(0.02)


async def check(feed: Feed, traffic: Traffic, parts: dict[str, Part]) -> None:
    newest: dict[str, int] = {}
    for key, revision in traffic.contents:
        newest[key] = max(newest.get(key, 0), revision)
    async with asyncio.timeout(PATIENCE):
        for key, revision in newest.items():
            await feed.settled("vm1", key, revision)

    async def all_reports() -> bool:
        return len(await feed.reports("vm1")) >= traffic.reported

    await until(all_reports)
    lines = [line.split() for line in parts["guestd"].applied.read_text().splitlines()]
    applied = Counter((key, int(revision)) for key, revision in lines)
    assert max(applied.values()) == 1
    assert all(
        list(map(int, revisions)) == sorted(map(int, revisions)) for revisions in by_key(lines).values()
    )
    assert len(traffic.acknowledged) > 3 * STAGE
    with GuestClient(traffic.socket) as client:
        held = {d.key: client.get(d.key) for d in await asyncio.to_thread(lambda: list(client.documents()))}
    assert {key: document.revision for key, (document, _) in held.items()} == {
        key: revision for key, revision in newest.items() if traffic.contents[key, revision] is not None
    }
    assert all(content == traffic.contents[key, newest[key]] for key, (_, content) in held.items())
    assert all(revision <= newest[key] for key, revision in traffic.acknowledged)
    assert [int(r.report.data) for r in await feed.reports("vm1")] == list(range(traffic.reported))
    for part in parts.values():
        await asyncio.to_thread(part.end, signal.SIGTERM)


def by_key(lines: list[list[str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key, revision in lines:
        found.setdefault(key, []).append(revision)
    return found
