# SPDX-License-Identifier: Apache-2.0
"""A guest that is slow, dead or too loud is its own trouble: the others get what is theirs, and nothing is lost."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from hvchannel_daemons import limits
from hvchannel_daemons.channel import channel_pb2 as pb
from hvchannel_daemons.channel import channel_pb2_grpc, transport
from hvchannel_daemons.feed import Feed, Quota, Report, SessionState
from hvchannel_daemons.guestd.client import GuestClient
from hvchannel_daemons.hostd import session
from hvchannel_daemons.hostd.intake import BYTES, REPORTS, Intake
from hvchannel_daemons.reasons import Reason


class BadGuest(channel_pb2_grpc.ChannelServicer):
    """Says Welcome and Inventory, and then does not do its part."""

    def __init__(self, *, reads: bool) -> None:
        self._reads = reads
        self.received = 0  # bytes of contents

    async def Session(self, _requests: object, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        await context.read()
        await context.write(pb.GuestMessage(welcome=pb.Welcome(version=2)))
        await context.write(pb.GuestMessage(inventory=pb.Inventory(last=True)))
        beating = asyncio.create_task(self._beat(context))
        try:
            while self._reads and (message := await context.read()) is not grpc.aio.EOF:
                self.received += len(message.begin.data) + len(message.piece.data)
            await asyncio.Event().wait()
        finally:
            beating.cancel()

    async def _beat(self, context: Any) -> None:
        while True:
            await context.write(pb.GuestMessage(heartbeat=pb.Heartbeat()))
            await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def serving(guest: BadGuest, address: str) -> AsyncIterator[None]:
    server = grpc.aio.server(options=transport.SERVER)
    channel_pb2_grpc.add_ChannelServicer_to_server(guest, server)
    server.add_insecure_port(address)
    await server.start()
    try:
        yield
    finally:
        await server.stop(None)


@pytest.fixture(params=["sqlite", "nats"])
def feed_at(request: pytest.FixtureRequest, short_dir: Path) -> str:
    sqlite = request.param == "sqlite"
    return str(short_dir / "feed.db") if sqlite else request.getfixturevalue("nats_feed")


async def is_in(feed: Feed, vif: str, state: SessionState) -> bool:
    session = (await feed.sessions()).get(vif)
    return session is not None and session.state is state


@pytest.mark.parametrize("feed_at", ["sqlite"], indirect=True)  # the feed has no part in it
async def test_bad_guests_delay_nobody(rig, control, feed, processes, short_dir: Path) -> None:
    """One never reads, one never answers, one is stopped; each has 8 MiB and more coming."""
    mute, deaf = BadGuest(reads=True), BadGuest(reads=False)
    processes.guestd("good1", "127.0.0.14")
    processes.guestd("good2", "127.0.0.15")
    stopped = processes.guestd("stopped", "127.0.0.13")
    guests = {"mute": 11, "deaf": 12, "stopped": 13, "good1": 14, "good2": 15}
    async with (
        serving(mute, f"127.0.0.11:{processes.port}"),
        serving(deaf, f"127.0.0.12:{processes.port}"),
        rig.hostd(short_dir, processes.port, heartbeat_seconds=0.5),
    ):
        for vif, last in guests.items():
            control.attach(vif, f"127.0.0.{last}")
        for vif in ("good1", "good2", "stopped"):
            await rig.eventually(lambda vif=vif: is_in(feed, vif, SessionState.READY), f"{vif} READY")
        stopped.signal(signal.SIGSTOP)
        for n in range(6):
            for vif in ("mute", "deaf", "stopped"):
                await feed.put(vif, f"k{n}", bytes(4 * limits.MIB), "")
        await rig.eventually(lambda: has(mute, 8 * limits.MIB), "the mute one has all that may be under way")
        async with asyncio.timeout(60):
            for n in range(20):
                for vif in ("good1", "good2"):
                    revision = await feed.put(vif, "a", bytes([n]) * 100_000, "")
                    await feed.settled(vif, "a", revision)
        for vif in ("mute", "deaf", "stopped"):
            assert not any(delivery.acknowledged for delivery in await feed.deliveries(vif))
        assert mute.received <= 12 * limits.MIB, "what is under way is bounded"
        stopped.signal(signal.SIGCONT)
        async with asyncio.timeout(60):
            await feed.settled("stopped", "k5", 1)


async def has(guest: BadGuest, size: int) -> bool:
    return guest.received >= size


# --- reports beyond the quota


async def test_a_loud_guest_is_slowed_and_loses_nothing(
    rig,
    control,
    feed,
    port,
    short_dir: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session, "_QUOTA_SECONDS", 0.2)
    await feed.set_quota("vm1", Quota(reports_per_second=0.5))  # hence two at once
    async with (
        rig.guestd(short_dir / "vm1", f"127.0.0.11:{port}"),
        rig.hostd(short_dir, port),
    ):
        control.attach("vm1", "127.0.0.11")
        await asyncio.to_thread(say, short_dir / "vm1/guestd.sock", 150)
        await rig.eventually(lambda: stored(feed, 2), "what may be said at once")
        assert not await stored(feed, 150)
        revision = await feed.put("vm1", "a", b"", "")  # documents are not slowed
        async with asyncio.timeout(30):
            await feed.settled("vm1", "a", revision)
        assert not await stored(feed, 150)
        await feed.set_quota("vm1", Quota(reports_per_second=10_000))
        await rig.eventually(lambda: stored(feed, 150), "all")
        assert await is_in(feed, "vm1", SessionState.READY)
    assert [int(s.report.data) for s in await feed.reports("vm1")] == list(range(150))
    assert "".join(capsys.readouterr()).count("reports_slowed") == 1


def say(socket: Path, count: int) -> None:
    with GuestClient(socket) as client:
        for n in range(count):
            client.report("count", str(n).encode())


async def stored(feed: Feed, count: int) -> bool:
    return len(await feed.reports("vm1")) >= count


def report(size: int = 1) -> Report:
    return Report(bytes(16), 1, "t", "", bytes(size), 1)


async def test_the_intake_is_bounded() -> None:
    intake = Intake(per_second=1)
    for _ in range(REPORTS):
        assert intake.has_room(1)
        intake.put(report())
    assert not intake.has_room(1)
    assert not await intake.room(1, 0.01)
    assert intake.pause() == 0
    assert len(intake.take()) == 4, "four seconds' worth"
    assert intake.pause() > 0
    assert await intake.room(1, 10)
    big = Intake(per_second=1)
    assert big.has_room(2 * BYTES), "a single one always"
    big.put(report(BYTES - 5))
    assert (big.has_room(5), big.has_room(6)) == (True, False)


async def test_a_guest_that_takes_nothing_is_given_up(
    rig, control, feed, port, short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lives, but its flow control stays closed: no ack is ever overdue, for nothing was ever sent whole."""
    monkeypatch.setattr(session, "_ACK_SECONDS", 1.0)
    await feed.put("deaf", "a", bytes(8 * limits.MIB), "")
    async with (
        serving(BadGuest(reads=False), f"127.0.0.12:{port}"),
        rig.hostd(short_dir, port, heartbeat_seconds=30),
    ):
        control.attach("deaf", "127.0.0.12")
        await rig.eventually(lambda: given_up(feed), "given up")


async def given_up(feed: Feed) -> bool:
    record = (await feed.sessions()).get("deaf")
    if record is None or not record.error:
        return False
    assert record.error_code is Reason.ACK_OVERDUE
    assert "flow control" in record.error
    return True
