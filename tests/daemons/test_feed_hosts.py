# SPDX-License-Identifier: Apache-2.0
"""Two hypervisors on one NATS feed: each VIF is one's at a time, and moves with all that was said of it."""

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
import typer
from hvchannel_daemons import limits
from hvchannel_daemons.commands import register
from hvchannel_daemons.feed import Ack, Feed, Outcome, Owner, Report, Session, SessionState, open_feed
from hvchannel_daemons.feed.jetstream import claims, mirror, orphans
from hvchannel_daemons.feed.jetstream.layout import subjects
from hvchannel_daemons.guestd.client import GuestClient
from typer.testing import CliRunner

from tests.daemons import nats_servers

pytestmark = pytest.mark.skipif(nats_servers.PROGRAM is None, reason=nats_servers.MISSING)


@pytest.fixture
def feed_at(nats_feed: str) -> str:
    return nats_feed


@dataclass
class Hypervisor:
    name: str
    directory: Path
    control: object


@pytest.fixture
async def hypervisors(rig, short_dir: Path) -> AsyncIterator[tuple[Hypervisor, Hypervisor]]:
    """hv1 and hv2, each with its controller, and no hostd yet."""
    async with contextlib.AsyncExitStack() as stack:
        made = []
        for name in ("hv1", "hv2"):
            one = Hypervisor(name, short_dir / name, rig.new_control())
            await asyncio.to_thread(one.directory.mkdir)
            await stack.enter_async_context(rig.control(one.control, one.directory / "control.sock"))
            made.append(one)
        yield made[0], made[1]


@pytest.fixture
def gone_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """An owner that is silent is given up sooner than in earnest."""
    monkeypatch.setattr(claims, "GONE_SECONDS", 0.5)


async def is_ready_at(feed: Feed, vif: str, host: str) -> bool:
    session = (await feed.sessions()).get(vif)
    return session is not None and (session.state, session.host) == (SessionState.READY, host)


async def contender(feed: Feed, vif: str) -> Session | None:
    found = (await feed.contenders()).get(vif)
    return found[0] if found else None


async def test_of_two_that_claim_a_vif_one_wins_and_the_other_says_which(
    rig, feed, feed_at: str, hypervisors, port, begun, short_dir: Path
) -> None:
    vifs = [f"vm{n}" for n in range(1, 9)]
    async with contextlib.AsyncExitStack() as stack:
        for n, vif in enumerate(vifs, start=11):
            await feed.put(vif, vif, b"hello", "")
            await stack.enter_async_context(rig.guestd(short_dir / vif, f"127.0.0.{n}:{port}"))
            for one in hypervisors:
                one.control.attach(vif, f"127.0.0.{n}")
        for one in hypervisors:
            await stack.enter_async_context(rig.hostd(one.directory, port, host=one.name))
        for vif in vifs:
            await rig.eventually(lambda vif=vif: contender(feed, vif), f"{vif} contended")
            async with asyncio.timeout(20):
                await feed.settled(vif, vif, 1)
        owners, contenders = await feed.owners(), await feed.contenders()
        sessions = await feed.sessions()
        for vif in vifs:
            winner = owners[vif].host
            (loser,) = contenders[vif]
            assert owners[vif].alive and sessions[vif].host == winner
            assert {winner, loser.host} == {"hv1", "hv2"}
            assert (loser.state, loser.reason) == (
                SessionState.CONTENDED,
                f"{vif} is served by hypervisor {winner}",
            )
        app = typer.Typer()
        register(app)
        shown = await asyncio.to_thread(CliRunner().invoke, app, ["status", "--json", "--feed", feed_at])
        for row in json.loads(shown.stdout)["vifs"]:
            assert (row["host"], row["served"]) == (owners[row["vif"]].host, True)
            assert row["contenders"] == [contenders[row["vif"]][0].host]
            assert row["state"] != "CONTENDED"
    assert sorted(begun) == [(vif, 1) for vif in vifs]


@pytest.mark.parametrize("overlap", [False, True], ids=["detached first", "attached first"])
async def test_a_vm_that_moves_finds_its_documents_and_nothing_comes_twice(
    rig, feed, hypervisors, port, applied, short_dir: Path, overlap: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # whoever waits for the VIF hears of its release, rather than look again and again
    monkeypatch.setattr(claims, "FIRST_SECONDS", 3600.0)
    monkeypatch.setattr(claims, "LONGEST_SECONDS", 3600.0)
    moments = [asyncio.Event() for _ in range(4)]
    put: dict[str, int] = {}

    async def traffic() -> None:
        """Documents and reports before, during and after each move."""
        with GuestClient(short_dir / "vm1" / "guestd.sock") as client:
            for n in range(150):
                key = f"k{n % 40}"
                put[key] = await feed.put("vm1", key, f"{n}".encode() * 100, "")
                await asyncio.to_thread(client.report, "count", f"{n}".encode(), wait_seconds=30)
                if n % 30 == 20:
                    moments[n // 30 % 4].set()

    async with contextlib.AsyncExitStack() as stack:
        for one in hypervisors:
            await stack.enter_async_context(rig.hostd(one.directory, port, host=one.name))
        await stack.enter_async_context(rig.guestd(short_dir / "vm1", f"127.0.0.11:{port}"))
        here, there = hypervisors
        here.control.attach("vm1", "127.0.0.11")
        await rig.eventually(lambda: is_ready_at(feed, "vm1", here.name), "READY at hv1")
        running = asyncio.create_task(traffic())
        for moment in moments:
            await moment.wait()
            if overlap:
                there.control.attach("vm1", "127.0.0.11")
                await rig.eventually(lambda: contender(feed, "vm1"), "contended")
                here.control.detach("vm1")
            else:
                here.control.detach("vm1")
                there.control.attach("vm1", "127.0.0.11")
            here, there = there, here
            await rig.eventually(
                lambda host=here.name: is_ready_at(feed, "vm1", host), "READY after the move"
            )
        await running
        async with asyncio.timeout(30):
            for key, revision in put.items():
                await feed.settled("vm1", key, revision)

        async def all_reports() -> bool:
            return len(await feed.reports("vm1")) >= 150

        await rig.eventually(all_reports, "all reports")
        assert await feed.contenders() == {}
    assert [int(s.report.data) for s in await feed.reports("vm1")] == list(range(150))
    assert all(d.acknowledged == d.document.revision for d in await feed.deliveries("vm1"))
    assert set(applied.values()) == {1}, "nothing was applied twice"


async def test_what_the_guest_acknowledged_is_not_sent_again_elsewhere(
    rig, feed, hypervisors, port, begun, short_dir: Path
) -> None:
    first, second = hypervisors
    async with (
        rig.hostd(first.directory, port, host="hv1"),
        rig.hostd(second.directory, port, host="hv2"),
        rig.guestd(short_dir / "vm1", f"127.0.0.11:{port}"),
    ):
        first.control.attach("vm1", "127.0.0.11")
        for n in range(20):
            await feed.put("vm1", f"k{n}", b"1", "")
        await feed.delete("vm1", "k0")
        async with asyncio.timeout(20):
            for n in range(20):
                await feed.settled("vm1", f"k{n}", 1 if n else 2)
        begun.clear()
        first.control.detach("vm1")
        await rig.eventually(lambda: is_nobodys(feed, "vm1"), "released")
        await feed.put("vm1", "k1", b"2", "")
        await feed.delete("vm1", "k2")
        second.control.attach("vm1", "127.0.0.11")
        await rig.eventually(lambda: is_ready_at(feed, "vm1", "hv2"), "READY at hv2")
        assert begun == [("k1", 2), ("k2", 2)]
        assert all(delivery.settled for delivery in await feed.deliveries("vm1"))


async def is_nobodys(feed: Feed, vif: str) -> bool:
    return await feed.owner(vif) is None


async def test_the_vifs_of_a_killed_hostd_are_taken_over(
    rig, feed, hypervisors, processes, gone_soon, begun, short_dir: Path
) -> None:
    first, second = hypervisors
    async with (
        rig.guestd(short_dir / "vm1", f"127.0.0.11:{processes.port}"),
        rig.hostd(second.directory, processes.port, host="hv2"),
    ):
        first.control.attach("vm1", "127.0.0.11")
        hostd = processes.hostd("hv1", first.directory)
        await rig.eventually(lambda: is_ready_at(feed, "vm1", "hv1"), "READY at hv1")
        second.control.attach("vm1", "127.0.0.11")
        await rig.eventually(lambda: contender(feed, "vm1"), "contended")
        revision = await feed.put("vm1", "a", b"", "")
        async with asyncio.timeout(20):
            await feed.settled("vm1", "a", revision)
        hostd.kill()
        revision = await feed.put("vm1", "a", b"", "")
        await rig.eventually(lambda: is_ready_at(feed, "vm1", "hv2"), "READY at hv2")
        async with asyncio.timeout(20):
            await feed.settled("vm1", "a", revision)
        processes.hostd("hv1", first.directory)  # and this one finds that it lost the VIF
        await rig.eventually(lambda: contender(feed, "vm1"), "contended by hv1 now")
        assert (await contender(feed, "vm1")).host == "hv1"
    assert begun == [("a", 1), ("a", 2)]


async def test_a_hostd_that_starts_again_has_its_vifs_at_once_and_lets_others_go(
    rig, feed, hypervisors, port, processes
) -> None:
    first, _ = hypervisors
    for vif in ("vm1", "vm2"):
        first.control.attach(vif, "127.0.0.11")
    hostd = processes.hostd("hv1", first.directory)
    for vif in ("vm1", "vm2"):
        await rig.eventually(lambda vif=vif: shown(feed, vif), f"{vif} held")
    hostd.kill()
    assert set((await feed.owners()).values()) == {Owner("hv1", alive=False)}
    del first.control.vifs["vm2"]  # detached while hostd was away
    async with rig.hostd(first.directory, port, host="hv1"):
        await rig.eventually(lambda: is_nobodys(feed, "vm2"), "vm2 released")
        await rig.eventually(lambda: shown(feed, "vm1"), "vm1 held again")
        assert await feed.owners() == {"vm1": Owner("hv1", alive=True)}
    assert await feed.sessions() == {}


async def shown(feed: Feed, vif: str) -> bool:
    return vif in await feed.sessions()


async def taken_over(feed: Feed, vif: str) -> list[str]:
    """Claims a VIF that another holds; from whom."""
    from_whom: list[str] = []

    async def contended(host: str) -> None:
        from_whom.append(host)

    await feed.claim(vif, contended)
    return from_whom


async def nobody(host: str) -> None:
    raise AssertionError(f"{host} holds the VIF")


@pytest.mark.parametrize("reset", [False, True], ids=["frozen", "reset"])
async def test_an_owner_that_was_cut_off_yields_that_vif_only(
    feed, nats_server, nats_feed: str, gone_soon, reset: bool
) -> None:
    name = nats_feed.rpartition("/")[2]
    for vif in ("vm1", "vm2"):
        for _ in range(2):
            await feed.put(vif, "a", b"", "")
    async with nats_servers.Cut(nats_server) as way:
        first, second = await open_feed(f"{way.url}/{name}"), await open_feed(nats_feed)
        await first.serve("hv1")
        await second.serve("hv2")
        lost, kept, quiet = [await first.claim(vif, nobody) for vif in ("vm1", "vm2", "vm3")]
        way.cut()
        if reset:
            way.reset()
        # what hv1 has to say of both waits
        saying = [
            asyncio.create_task(first.record_acks(vif, [Ack("a", 1, Outcome.STORED, 1)]))
            for vif in ("vm1", "vm2")
        ]
        report = Report(bytes(16), 1, "t", "", b"", 1)
        reporting = asyncio.create_task(first.add_reports("vm1", [report]))
        async with asyncio.timeout(20):
            for vif in ("vm1", "vm3"):
                assert set(await taken_over(second, vif)) == {"hv1"}
        assert await second.add_reports("vm1", [report]) == 1
        await second.record_acks("vm1", [Ack("a", 2, Outcome.STORED, 2)])
        assert not kept.taken.done()
        way.heal()
        async with asyncio.timeout(30):
            assert await lost.taken == await quiet.taken == "hv2"
            await asyncio.gather(*saying)
            assert await reporting == 0
            assert (await feed.settled("vm2", "a", 1)).acknowledged == 1
        assert not kept.taken.done()
        (delivery,) = await feed.deliveries("vm1")
        assert delivery.acknowledged == 2, "what the new owner wrote stands"
        assert [s.report for s in await feed.reports("vm1")] == [report]
        owners = await feed.owners()
        assert {vif: owner.host for vif, owner in owners.items()} == {
            "vm1": "hv2",
            "vm2": "hv1",
            "vm3": "hv2",
        }
        assert all(owner.alive for owner in owners.values())
        # it is released there, and taken back at once
        taking = asyncio.create_task(taken_over(first, "vm1"))
        await second.release("vm1")
        async with asyncio.timeout(20):
            await taking
        await feed.put("vm1", "a", b"", "")
        await first.close()
        await second.close()


async def test_a_hostd_that_was_frozen_yields_when_it_moves_again(
    rig, feed, hypervisors, processes, gone_soon, begun, short_dir: Path
) -> None:
    first, second = hypervisors
    async with (
        rig.guestd(short_dir / "vm1", f"127.0.0.11:{processes.port}"),
        rig.hostd(second.directory, processes.port, host="hv2"),
    ):
        first.control.attach("vm1", "127.0.0.11")
        hostd = processes.hostd("hv1", first.directory)
        await rig.eventually(lambda: is_ready_at(feed, "vm1", "hv1"), "READY at hv1")
        hostd.signal(signal.SIGSTOP)
        second.control.attach("vm1", "127.0.0.11")
        await rig.eventually(lambda: is_ready_at(feed, "vm1", "hv2"), "READY at hv2")
        hostd.signal(signal.SIGCONT)
        await rig.eventually(lambda: contender(feed, "vm1"), "contended by hv1")
        contending = await contender(feed, "vm1")
        assert contending is not None
        assert (contending.host, contending.reason) == ("hv1", "vm1 is served by hypervisor hv2")
        assert await is_ready_at(feed, "vm1", "hv2")
        second.control.detach("vm1")
        await rig.eventually(lambda: is_ready_at(feed, "vm1", "hv1"), "READY at hv1 again")
        assert hostd.popen.poll() is None


async def test_word_of_a_change_that_is_lost_is_made_up_for(
    feed, nats_feed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "ROUND_SECONDS", 0.1)
    serving = await open_feed(nats_feed)
    await serving.serve("hv1")
    claim = await serving.claim("vm1", nobody)
    await serving._mirror.of("vm1").news.unsubscribe()
    await feed.put("vm2", "a", b"", "")
    await feed.put("vm1", "a", b"", "")
    async with asyncio.timeout(20):
        await claim.changed.wait()
    assert [d.key for d in await serving.documents("vm1", after=0, limit=10)] == ["a"]
    await serving.close()


async def test_pieces_that_nothing_refers_to_are_removed_after_an_hour(
    feed, nats_feed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = bytes(limits.PIECE_BYTES + 1)
    serving = await open_feed(nats_feed)
    await serving.serve("hv1")
    claim = await serving.claim("vm1", nobody)
    for vif in ("vm1", "vm2"):
        await feed._contents.write(large, feed._layout.new_content(vif))  # and its put ends here
    await feed.put("vm1", "kept", large, "")
    await serving.add_reports("vm1", [Report(bytes(16), 1, "t", "", large, 1)])
    async with asyncio.timeout(20):
        await claim.changed.wait()
    assert await serving._orphans.collect("vm1") == 0
    monkeypatch.setattr(orphans, "AGE", timedelta(0))
    assert await serving._orphans.collect("vm1") == 1
    assert await serving._orphans.collect("vm1") == 0
    (document,) = await serving.documents("vm1", after=0, limit=10)
    assert await feed.content(document) == large
    assert [s.report.data for s in await feed.reports("vm1")] == [large]
    left, _ = await subjects(feed._link, feed._layout.pieces, feed._layout.pieces_of_vif("vm2"))
    assert len(left) == 2, "of others' VIFs nothing is known"
    await serving.close()
