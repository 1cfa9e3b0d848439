# SPDX-License-Identifier: Apache-2.0
"""hostd and guestd together, over loopback, with a fake of control's Watch: delivery, loss and recovery."""

import asyncio
import random
import signal
from pathlib import Path

import pytest
from hvchannel_daemons import limits
from hvchannel_daemons.channel.versions import Versions
from hvchannel_daemons.feed import Feed, Outcome, SessionState
from hvchannel_daemons.guestd.client import GuestClient
from hvchannel_daemons.guestd.store import GuestStore
from hvchannel_daemons.reasons import Reason

MIB = 1024 * 1024


@pytest.fixture(params=["sqlite", "nats"])
def feed_at(request: pytest.FixtureRequest, short_dir: Path) -> str:
    sqlite = request.param == "sqlite"
    return str(short_dir / "feed.db") if sqlite else request.getfixturevalue("nats_feed")


async def held_by(directory: Path) -> dict[str, int]:
    """What a stopped guest has on its disk."""
    store = await asyncio.to_thread(GuestStore, directory / "store")
    documents = await store.documents("", after_key="", limit=10_000)
    await store.close()
    return {document.key: document.revision for document in documents}


async def is_in(feed: Feed, vif: str, state: SessionState) -> bool:
    session = (await feed.sessions()).get(vif)
    return session is not None and session.state is state


async def test_an_8_mib_document_arrives_whole(rig, control, feed, port, processes, short_dir: Path) -> None:
    content = random.Random(8).randbytes(8 * MIB)
    processes.guestd("vm1", "127.0.0.11")
    processes.hostd()
    control.attach("vm1", "127.0.0.11")
    revision = await feed.put("vm1", "image", content, "application/octet-stream")
    async with asyncio.timeout(60):
        delivery = await feed.settled("vm1", "image", revision)
    assert delivery.outcome is Outcome.STORED
    with GuestClient(short_dir / "vm1" / "guestd.sock") as client:
        document, arrived = await asyncio.to_thread(client.get, "image")
    assert arrived == content
    assert document.sha256 == delivery.document.sha256


async def test_answers_come_back(rig, control, feed, port, short_dir: Path) -> None:
    async with (
        rig.guestd(short_dir / "vm1", f"127.0.0.11:{port}"),
        rig.hostd(short_dir, port),
    ):
        control.attach("vm1", "127.0.0.11")
        await feed.put("vm1", "question", b"how are you", "text/plain")

        def answer() -> None:
            with GuestClient(short_dir / "vm1" / "guestd.sock") as client:
                for change in client.watch("quest"):
                    if change.kind == "put":
                        client.report("answer", b"well: " + change.content, about_key=change.key)
                        return

        await asyncio.to_thread(answer)
        await rig.eventually(lambda: feed.reports("vm1"), "a report")
        (stored,) = await feed.reports("vm1")
        assert (stored.report.data, stored.report.about_key) == (b"well: how are you", "question")


async def test_a_change_and_a_deletion_follow_at_once(
    rig, control, feed, port, begun, short_dir: Path
) -> None:
    async with rig.guestd(short_dir / "vm1", f"127.0.0.11:{port}"), rig.hostd(short_dir, port):
        control.attach("vm1", "127.0.0.11")
        await rig.eventually(lambda: is_in(feed, "vm1", SessionState.READY), "READY")
        async with asyncio.timeout(30):
            for content in (b"1", b"2"):
                revision = await feed.put("vm1", "a", content, "")
                await feed.settled("vm1", "a", revision)
            await feed.settled("vm1", "a", await feed.delete("vm1", "a"))
    assert begun == [("a", 1), ("a", 2), ("a", 3)]
    assert await held_by(short_dir / "vm1") == {}


async def test_after_a_restart_of_hostd_nothing_is_sent_again(
    rig, control, feed, port, begun, short_dir: Path
) -> None:
    async with rig.guestd(short_dir / "vm1", f"127.0.0.11:{port}"):
        control.attach("vm1", "127.0.0.11")
        for n in range(20):
            await feed.put("vm1", f"k{n}", bytes(n), "")
        await feed.put("vm1", "gone", b"", "")
        await feed.delete("vm1", "gone")
        async with rig.hostd(short_dir, port):
            await rig.eventually(lambda: is_in(feed, "vm1", SessionState.READY), "READY")
        assert sorted(begun) == sorted((f"k{n}", 1) for n in range(20))  # no tombstone of what it never had
        begun.clear()
        await feed.put("vm1", "k3", b"new", "")
        await feed.delete("vm1", "k4")
        async with rig.hostd(short_dir, port):
            await rig.eventually(lambda: is_in(feed, "vm1", SessionState.READY), "READY again")
        assert begun == [("k3", 2), ("k4", 2)]
    assert all(delivery.settled for delivery in await feed.deliveries("vm1"))


async def test_kill_9_of_hostd_loses_nothing(rig, control, feed, processes, begun, short_dir: Path) -> None:
    async with rig.guestd(short_dir / "vm1", f"127.0.0.11:{processes.port}"):
        control.attach("vm1", "127.0.0.11")
        hostd = processes.hostd()
        for n in range(200):
            await feed.put("vm1", f"k{n}", b"x" * 1000, "")
            if n % 60 == 59:
                hostd.kill()
                hostd = processes.hostd()
        async with asyncio.timeout(60):
            for n in range(200):
                await feed.settled("vm1", f"k{n}", 1)
        hostd.kill()
        owner = await feed.owner("vm1")
        assert owner is not None and not owner.alive
        begun.clear()
        processes.hostd()
        await rig.eventually(lambda: is_in(feed, "vm1", SessionState.READY), "READY")
        assert begun == []


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_kill_9_of_guestd_at_any_moment_loses_nothing_acknowledged(
    rig, control, feed, processes, short_dir: Path, seed: int
) -> None:
    chance = random.Random(seed)
    contents = {f"k{n}": chance.randbytes(chance.choice([10, 5_000, 700_000])) for n in range(60)}
    control.attach("vm1", "127.0.0.11")
    guestd = processes.guestd("vm1", "127.0.0.11")
    processes.hostd()
    putting = asyncio.create_task(put_all(feed, contents))
    for _ in range(3):
        target = chance.randrange(1, 50)
        await rig.eventually(lambda target=target: acknowledged_at_least(feed, target), "acks")
        await asyncio.sleep(chance.random() * 0.02)  # somewhere between a receipt and its ack
        guestd.kill()
        acknowledged = {
            d.document.key: d.acknowledged for d in await feed.deliveries("vm1") if d.acknowledged
        }
        held = await held_by(short_dir / "vm1")
        assert acknowledged.items() <= held.items()
        files = short_dir / "vm1/store/documents"
        for key in acknowledged:
            assert await asyncio.to_thread((files / key).read_bytes) == contents[key]
        guestd = processes.guestd("vm1", "127.0.0.11")
    await putting
    async with asyncio.timeout(60):
        for key in contents:
            await feed.settled("vm1", key, 1)
    await asyncio.to_thread(guestd.terminate)
    store = await asyncio.to_thread(GuestStore, short_dir / "vm1" / "store")
    for key, content in contents.items():
        document = await store.document(key)
        pieces = [await store.piece(document, n) for n in range(-(-document.size // limits.PIECE_BYTES))]
        assert b"".join(pieces) == content
    await store.close()


async def put_all(feed: Feed, contents: dict[str, bytes]) -> None:
    for key, content in contents.items():
        await feed.put("vm1", key, content, "")


async def acknowledged_at_least(feed: Feed, count: int) -> bool:
    return sum(d.acknowledged > 0 for d in await feed.deliveries("vm1")) >= count


async def test_a_frozen_guest_delays_nobody_and_is_noticed(
    rig, control, feed, processes, short_dir: Path
) -> None:
    frozen = processes.guestd("vm1", "127.0.0.11")
    processes.guestd("vm2", "127.0.0.12")
    processes.hostd()
    control.attach("vm1", "127.0.0.11")
    control.attach("vm2", "127.0.0.12")
    for vif in ("vm1", "vm2"):
        await rig.eventually(lambda vif=vif: is_in(feed, vif, SessionState.READY), f"{vif} READY")
    frozen.signal(signal.SIGSTOP)
    await feed.put("vm1", "big", bytes(32 * MIB), "")
    async with asyncio.timeout(20):
        for n in range(20):
            revision = await feed.put("vm2", "a", bytes([n]) * 100_000, "")
            await feed.settled("vm2", "a", revision)
    await rig.eventually(lambda: is_in(feed, "vm1", SessionState.BACKOFF), "vm1 given up")
    reason = (await feed.sessions())["vm1"].reason
    assert "silent" in reason or "no Welcome" in reason or "no answer" in reason
    assert await is_in(feed, "vm2", SessionState.READY)
    frozen.signal(signal.SIGCONT)
    async with asyncio.timeout(30):
        await feed.settled("vm1", "big", 1)


async def test_an_absent_guest_is_named_and_found_when_it_comes(
    rig, control, feed, port, short_dir: Path
) -> None:
    async with rig.hostd(short_dir, port):
        control.attach("vm1", "127.0.0.11")
        await rig.eventually(lambda: is_in(feed, "vm1", SessionState.BACKOFF), "BACKOFF")
        session = (await feed.sessions())["vm1"]
        assert session.reason == f"connection refused: nothing listens on 127.0.0.11:{port}"
        assert session.code is Reason.REFUSED
        await feed.put("vm1", "a", b"", "")
        async with rig.guestd(short_dir / "vm1", f"127.0.0.11:{port}"), asyncio.timeout(20):
            await feed.settled("vm1", "a", 1)


async def test_no_version_in_common_is_shown(rig, control, feed, port, short_dir: Path) -> None:
    newer = Versions(3, 4)
    async with (
        rig.guestd(short_dir / "vm1", f"127.0.0.11:{port}", versions=newer),
        rig.hostd(short_dir, port),
    ):
        control.attach("vm1", "127.0.0.11")
        await rig.eventually(lambda: is_in(feed, "vm1", SessionState.BACKOFF), "BACKOFF")
        session = (await feed.sessions())["vm1"]
    assert session.code is Reason.VERSION_MISMATCH
    assert session.reason == (
        "guest: VERSION_MISMATCH: no protocol version in common: hypervisor speaks 1 to 2, guest speaks 3 to 4"
    )


async def test_sessions_outlive_the_controller(rig, feed, port, short_dir: Path) -> None:
    control = rig.new_control()
    socket = short_dir / "control.sock"
    control.attach("vm1", "127.0.0.11")
    control.attach("vm2", "127.0.0.12")
    control.attach("vm3", "127.0.0.13", realised=False)
    async with (
        rig.guestd(short_dir / "vm1", f"127.0.0.11:{port}"),
        rig.guestd(short_dir / "vm2", f"127.0.0.12:{port}"),
        rig.hostd(short_dir, port),
    ):
        async with rig.control(control, socket):
            for vif in ("vm1", "vm2"):
                await rig.eventually(lambda vif=vif: is_in(feed, vif, SessionState.READY), "READY")
        assert "vm3" not in await feed.sessions()
        since = (await feed.sessions())["vm1"].since_unix_ns
        revision = await feed.put("vm1", "a", b"", "")
        async with asyncio.timeout(20):
            await feed.settled("vm1", "a", revision)
        del control.vifs["vm2"]  # detached while the controller was not heard
        async with rig.control(control, socket):
            await rig.eventually(lambda: only_session(feed, "vm1"), "vm2 gone")
            assert (await feed.sessions())["vm1"].since_unix_ns == since
            control.detach("vm1")
            await rig.eventually(lambda: no_sessions(feed), "vm1 gone")


async def only_session(feed: Feed, vif: str) -> bool:
    return set(await feed.sessions()) == {vif}


async def no_sessions(feed: Feed) -> bool:
    return not await feed.sessions()


async def test_a_vif_that_moves_to_another_lip_is_followed(rig, control, feed, port, short_dir: Path) -> None:
    async with rig.hostd(short_dir, port):
        async with rig.guestd(short_dir / "vm1", f"127.0.0.11:{port}"):
            control.attach("vm1", "127.0.0.11")
            await rig.eventually(lambda: is_in(feed, "vm1", SessionState.READY), "READY")
        async with rig.guestd(short_dir / "vm1", f"127.0.0.12:{port}"):
            control.attach("vm1", "127.0.0.12")
            await feed.put("vm1", "a", b"", "")
            async with asyncio.timeout(20):
                await feed.settled("vm1", "a", 1)
            assert (await feed.sessions())["vm1"].address == f"127.0.0.12:{port}"


async def test_reports_survive_everybody_and_come_once(
    rig, control, feed, processes, short_dir: Path
) -> None:
    control.attach("vm1", "127.0.0.11")
    guestd = processes.guestd("vm1", "127.0.0.11")
    socket = short_dir / "vm1" / "guestd.sock"
    queued = 0
    for _ in range(3):
        hostd = processes.hostd()
        for _ in range(30):
            queued += await asyncio.to_thread(report_patiently, socket, queued)
        hostd.kill()
        for _ in range(10):
            queued += await asyncio.to_thread(report_patiently, socket, queued)
        guestd.kill()
        guestd = processes.guestd("vm1", "127.0.0.11")
    processes.hostd()

    async def all_there() -> bool:
        return len(await feed.reports("vm1")) >= queued

    await rig.eventually(all_there, "all reports")
    stored = [int(s.report.data) for s in await feed.reports("vm1")]
    assert stored == list(range(queued))


def report_patiently(socket: Path, number: int) -> int:
    with GuestClient(socket) as client:
        client.report("count", str(number).encode(), wait_seconds=30)
    return 1
