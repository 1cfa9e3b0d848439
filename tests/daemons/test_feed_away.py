# SPDX-License-Identifier: Apache-2.0
"""NATS goes away, is killed, comes back, loses servers: hostd goes on, no document is lost, none applied twice."""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hvchannel_daemons.feed import (
    Access,
    Ack,
    Feed,
    FeedAwayError,
    FeedClaimedError,
    FeedError,
    Outcome,
    Report,
    SessionState,
    open_feed,
)
from hvchannel_daemons.feed.jetstream import link, mirror
from hvchannel_daemons.guestd.client import GuestClient, GuestClientError

from tests.daemons import nats_servers

pytestmark = pytest.mark.skipif(nats_servers.PROGRAM is None, reason=nats_servers.MISSING)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[nats_servers.NatsServer]:
    """One that the test may harm."""
    with nats_servers.running(tmp_path / "nats") as running:
        yield running


@pytest.fixture
def feed_at(server: nats_servers.NatsServer) -> str:
    return f"{server.url}/hv"


async def is_in(feed: Feed, vif: str, state: SessionState) -> bool:
    session = (await feed.sessions()).get(vif)
    return session is not None and session.state is state


async def is_ready(feed: Feed, vif: str) -> bool:
    return await is_in(feed, vif, SessionState.READY)


async def put_through(feed: Feed, key: str, content: bytes) -> int:
    """As a control plane does: until the feed says that it has it."""
    while True:
        try:
            return await feed.put("vm1", key, content, "")
        except FeedAwayError:
            continue


async def assert_delivered(feed: Feed, put: dict[str, tuple[int, bytes]], guest: Path) -> None:
    async with asyncio.timeout(60):
        for key, (revision, content) in put.items():
            delivery = await feed.settled("vm1", key, revision)
            assert delivery.document.revision == revision
            assert await feed.content(delivery.document) == content
    with GuestClient(guest / "guestd.sock") as client:
        for key, (_, content) in put.items():
            assert (await asyncio.to_thread(client.get, key))[1] == content


async def test_guests_are_served_while_the_server_is_away(
    rig, control, feed, server, port, applied, short_dir: Path
) -> None:
    for vif in ("vm1", "vm2"):
        control.attach(vif, {"vm1": "127.0.0.11", "vm2": "127.0.0.12"}[vif])
        await feed.put(vif, "small", b"s" * 1000, "")
        await feed.put(vif, "gone", b"", "")
        await feed.delete(vif, "gone")
    async with (
        rig.hostd(short_dir, port, heartbeat_seconds=0.3),
        rig.guestd(short_dir / "vm1", f"127.0.0.11:{port}"),
    ):
        await rig.eventually(lambda: is_ready(feed, "vm1"), "vm1 READY")
        await rig.eventually(lambda: is_in(feed, "vm2", SessionState.BACKOFF), "vm2 held, if not there")
        await asyncio.to_thread(server.stop)
        # a guest that comes only now gets what hostd has, and its report waits for the server
        async with rig.guestd(short_dir / "vm2", f"127.0.0.12:{port}"):
            await rig.eventually(lambda: held(short_dir / "vm2", "small", b"s" * 1000), "small in vm2")
            with GuestClient(short_dir / "vm2" / "guestd.sock") as client:
                await asyncio.to_thread(client.report, "late", b"said while away")
            await asyncio.to_thread(server.start)
            await rig.eventually(lambda: is_ready(feed, "vm2"), "vm2 READY")
            revision = await put_through(feed, "after", b"back")
            async with asyncio.timeout(30):
                await feed.settled("vm1", "after", revision)
                assert (await feed.settled("vm2", "small", 1)).acknowledged == 1
            await rig.eventually(lambda: feed.reports("vm2"), "the report")
            assert [s.report.data for s in await feed.reports("vm2")] == [b"said while away"]
    assert set(applied.values()) == {1}


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_a_server_that_comes_and_goes_under_traffic(
    rig, control, feed, server, port, applied, short_dir: Path, end: str
) -> None:
    control.attach("vm1", "127.0.0.11")
    put: dict[str, tuple[int, bytes]] = {}
    moments = {n: asyncio.Event() for n in (50, 170, 290)}

    async def traffic() -> None:
        for n in range(400):
            content = f"{n}".encode() * (100 if n % 10 else 150_000)  # every tenth is of several pieces
            put[f"k{n % 130}"] = (await put_through(feed, f"k{n % 130}", content), content)
            if n in moments:
                moments[n].set()

    async with (
        rig.hostd(short_dir, port, heartbeat_seconds=0.3),
        rig.guestd(short_dir / "vm1", f"127.0.0.11:{port}"),
    ):
        putting = asyncio.create_task(traffic())
        for moment in moments.values():
            await moment.wait()
            await asyncio.to_thread(getattr(server, end))
            await asyncio.to_thread(server.start)
        await putting
        await assert_delivered(feed, put, short_dir / "vm1")
        assert await is_ready(feed, "vm1")
    assert set(applied.values()) == {1}, "nothing was applied twice"
    newest: dict[str, int] = {}
    for _, key, revision in applied:
        assert revision > newest.get(key, 0), "nor did a guest go back"
        newest[key] = revision


async def held(guest: Path, key: str, content: bytes) -> bool:
    with GuestClient(guest / "guestd.sock") as client, contextlib.suppress(GuestClientError):
        return (await asyncio.to_thread(client.get, key))[1] == content
    return False


async def test_a_cluster_loses_any_one_server_and_no_document(
    rig, control, port, applied, tmp_path: Path, short_dir: Path
) -> None:
    control.attach("vm1", "127.0.0.11")
    put: dict[str, tuple[int, bytes]] = {}
    with nats_servers.cluster(tmp_path / "cluster") as servers:
        where = f"nats://{','.join(f'127.0.0.1:{server.port}' for server in servers)}/hv"
        hosting = type(rig)(where).hostd
        feed = await opened_patiently(where, Access(replicas=3))
        async with (
            hosting(short_dir, port, heartbeat_seconds=0.3),
            rig.guestd(short_dir / "vm1", f"127.0.0.11:{port}"),
        ):
            for number, server in enumerate(servers):
                moment = asyncio.Event()

                async def traffic(number: int = number, moment: asyncio.Event = moment) -> None:
                    for n in range(60):
                        if n == 20:
                            moment.set()
                        content = f"{number} {n}".encode() * (100 if n % 10 else 100_000)
                        put[f"{number}-{n}"] = (await put_through(feed, f"{number}-{n}", content), content)

                putting = asyncio.create_task(traffic())
                await moment.wait()
                await asyncio.to_thread(server.kill)
                await putting
                await assert_delivered(feed, put, short_dir / "vm1")
                await asyncio.to_thread(server.start)
                await rig.eventually(lambda: replicated(feed), "all replicas current")
        assert len(put) == 180
        await feed.close()
    assert set(applied.values()) == {1}, "nothing was applied twice"


async def opened_patiently(where: str, access: Access | None = None) -> Feed:
    """A cluster that has just started elects its leaders first."""
    while True:
        try:
            return await open_feed(where, access)
        except FeedError:
            await asyncio.sleep(0.1)


async def replicated(feed) -> bool:
    """Every stream of the feed has all its replicas, and they are current: one more may be lost."""
    for name in feed._layout.streams:
        info = await feed._link.call(lambda name=name: feed._link.js.stream_info(name))
        cluster = info.cluster
        if cluster.leader is None or len(cluster.replicas) != 2:
            return False
        if not all(peer.current and not peer.offline for peer in cluster.replicas):
            return False
    return True


async def test_hostd_waits_for_a_server_that_is_not_there_yet(
    rig, control, server, port, short_dir: Path
) -> None:
    await asyncio.to_thread(server.stop)
    control.attach("vm1", "127.0.0.11")
    async with (
        rig.hostd(short_dir, port),
        rig.guestd(short_dir / "vm1", f"127.0.0.11:{port}"),
    ):
        await asyncio.to_thread(server.start)
        feed = await opened_patiently(rig.feed_at)
        await rig.eventually(lambda: is_ready(feed, "vm1"), "READY")
        await feed.close()


async def nobody(host: str) -> None:
    raise AssertionError(f"{host} holds the VIF")


async def test_a_hostd_that_was_cut_off_yields_to_its_successor(feed, feed_at: str, server) -> None:
    await feed.serve("hv1")
    await feed._link.call(lambda: feed._link.publish(feed._layout.host("hv1"), b"another"))
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start)
    with pytest.raises(FeedClaimedError, match="another hostd serves it for hypervisor hv1"):
        async with asyncio.timeout(30):
            await feed.failed()


async def test_a_feed_that_was_made_anew_is_no_continuation(feed, server) -> None:
    await feed.put("vm1", "a", b"x", "")
    await feed.serve("hv1")
    await feed._link.call(lambda: feed._link.js.delete_stream(feed._layout.documents))
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start)
    with pytest.raises(FeedError, match=r"is another one than before|is gone"):
        async with asyncio.timeout(30):
            await feed.failed()


async def test_a_change_while_hostd_looks_whether_it_is_the_same_feed_is_none_of_another(
    feed, feed_at: str, server, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = await open_feed(feed_at)
    await serving.serve("hv1")
    claim = await serving.claim("vm1", nobody)
    looked, original = asyncio.Event(), mirror.Mirror._look
    newest = mirror.last

    async def late(*asked):
        claim.changed.clear()
        await put_through(feed, "a", b"while it looks")
        await claim.changed.wait()
        return await newest(*asked)

    async def look(self, *, again: bool) -> None:
        await original(self, again=again)
        looked.set()

    monkeypatch.setattr(mirror.Mirror, "_look", look)
    monkeypatch.setattr(mirror, "last", late)
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start)
    async with asyncio.timeout(30):
        await looked.wait()
    serving._background.check()  # raises what would end hostd
    await serving.close()


async def test_acks_wait_for_the_server_and_reports_are_stored_once(feed, feed_at: str, server) -> None:
    await feed.put("vm1", "a", b"x", "")
    await feed.serve("hv1")
    await feed.claim("vm1", nobody)
    await asyncio.to_thread(server.kill)
    async with asyncio.timeout(20):
        await feed.record_acks("vm1", [Ack("a", 1, Outcome.FAILED, 0, "first")])
        await feed.record_acks("vm1", [Ack("a", 1, Outcome.STORED, 1)])
    report = Report(bytes(16), 1, "t", "", bytes(300_000), 1)
    adding = asyncio.create_task(feed.add_reports("vm1", [report]))
    await asyncio.to_thread(server.start)
    async with asyncio.timeout(30):
        await adding
        assert await feed.add_reports("vm1", [report]) == 0
        other = await opened_patiently(feed_at)
        delivery = await other.settled("vm1", "a", 1)
    assert (delivery.acknowledged, delivery.error) == (1, "")
    assert [s.report for s in await other.reports("vm1")] == [report]
    await other.close()


async def test_whoever_asks_is_told_soon_that_the_server_is_away(
    feed, feed_at: str, server, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(server.kill)
    monkeypatch.setattr(link, "CALL_SECONDS", 1.0)
    with pytest.raises(FeedAwayError, match=r"feed nats://127.0.0.1:\d+/hv: "):
        await feed.put("vm1", "a", b"", "")
    with pytest.raises(FeedAwayError, match=r"feed nats://127.0.0.1:\d+/hv: .*[Cc]onnect"):
        await open_feed(feed_at)


async def test_a_change_that_comes_while_hostd_finds_nothing_new_is_not_missed(
    feed, feed_at: str, server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a loss of its connection hostd reads on, however far others' changes have brought the stream. What is put
    after the server has said that there is nothing, and heard of before hostd takes that in, comes all the same."""
    serving = await open_feed(feed_at)
    await serving.serve("hv1")
    claim = await serving.claim("vm1", nobody)
    await feed.put("vm2", "other", b"x", "")
    original = mirror.following
    late: list[int] = []

    async def following(*asked):
        found = await original(*asked)
        if found is None and not late:
            held = serving._mirror._vifs["vm1"]
            there = held.there
            late.append(await put_through(feed, "a", b"meanwhile"))
            while held.there == there:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return found

    monkeypatch.setattr(mirror, "following", following)
    claim.changed.clear()
    await serving._mirror._look(again=True)  # as when its connection is back
    async with asyncio.timeout(30):
        while not await serving.documents("vm1", after=0, limit=10):
            await claim.changed.wait()
            claim.changed.clear()
    assert late == [1]
    await serving.close()
