# SPDX-License-Identifier: Apache-2.0
"""A guest that breaks the channel's protocol or lies in it: hostd says what it did, and believes nothing that it cannot
know."""

import asyncio
import time
from typing import Any

import pytest
from hvchannel_daemons import limits
from hvchannel_daemons.channel import channel_pb2 as pb
from hvchannel_daemons.feed import SessionState
from hvchannel_daemons.limits import MIB
from hvchannel_daemons.reasons import Reason

from tests.attacks.protocol.liars import Liar, report
from tests.attacks.protocol.world import HONEST, World, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


def after_welcome(**message: Any) -> Any:
    async def talk(liar: Liar) -> None:
        await liar.welcome()
        await liar.say(**message)

    return talk


def first(**message: Any) -> Any:
    async def talk(liar: Liar) -> None:
        await liar.say(**message)

    return talk


def inventory(entries: list[tuple[str, int]]) -> Any:
    async def talk(liar: Liar) -> None:
        await liar.say(welcome=pb.Welcome(version=2))
        await liar.holds(entries)

    return talk


async def endless_inventory(liar: Liar) -> None:
    await liar.say(welcome=pb.Welcome(version=2))
    for part in range(1 << 20):
        await liar.holds([(f"k{part}-{n}" + "y" * 200, 1) for n in range(1024)], last=False)


async def hangs_up_politely(liar: Liar) -> None:
    await liar.welcome()
    await liar.context.abort(13, "\x1b[2J" + "x" * 1000)


async def closes_with_a_mess(liar: Liar) -> None:
    await liar.say(closing=pb.Closing(reason=99, message="\x1b]0;owned\x07\n\u202e" + "x" * 100_000))  # type: ignore[arg-type]


many_acks = pb.DocumentAcks(
    acks=[pb.DocumentAck(key="a", revision=1, outcome=pb.DocumentAck.STORED)] * 100_000
)
PROTOCOL, LIMIT, VERSION = Reason.PROTOCOL_ERROR, Reason.LIMIT_EXCEEDED, Reason.VERSION_MISMATCH
UNKNOWN_OUTCOME: Any = 77

BREACHES = {
    "version 0": (first(welcome=pb.Welcome(version=0)), VERSION, "version 0"),
    "version of the far future": (first(welcome=pb.Welcome(version=2**32 - 1)), VERSION, "4294967295"),
    "acks first": (first(acks=pb.DocumentAcks()), PROTOCOL, "welcome"),
    "inventory first": (first(inventory=pb.Inventory(last=True)), PROTOCOL, "welcome"),
    "no message": (first(), PROTOCOL, "no message of the protocol"),
    "welcome twice": (after_welcome(welcome=pb.Welcome(version=2)), PROTOCOL, "welcome"),
    "inventory twice": (after_welcome(inventory=pb.Inventory(last=True)), PROTOCOL, "inventory"),
    "no message later": (after_welcome(), PROTOCOL, "no message of the protocol"),
    "key": (inventory([("\x1b[2J" * 1000, 1)]), PROTOCOL, "is not valid"),
    "revision 0": (inventory([("a", 0)]), PROTOCOL, "revision 0"),
    "revision 2^64": (inventory([("a", 2**64 - 1)]), PROTOCOL, "revision"),
    "a large part": (inventory([(f"k{n}", 1) for n in range(1025)]), LIMIT, "1025 entries"),
    "endless inventory": (endless_inventory, LIMIT, "documents in the guest's inventory"),
    "too many acks": (after_welcome(acks=many_acks), LIMIT, "100000 acks"),
    "outcome": (
        after_welcome(acks=pb.DocumentAcks(acks=[pb.DocumentAck(key="a", outcome=UNKNOWN_OUTCOME)])),
        PROTOCOL,
        "outcome 77",
    ),
    "report's type": (after_welcome(report=report(1, type="\n")), PROTOCOL, "report type"),
    "report's id": (after_welcome(report=report(1, id=b"short")), PROTOCOL, "id of 5 bytes"),
    "report's size": (after_welcome(report=report(1, bytes(MIB + 1))), PROTOCOL, "too large"),
    "report's order": (after_welcome(report=report(0)), PROTOCOL, "sequence 0"),
    "report's key": (after_welcome(report=report(1, about_key="y" * 100_000)), PROTOCOL, "key 'yyy"),
    "huge message": (after_welcome(report=report(1, bytes(8 * MIB))), LIMIT, "larger than max"),
    "closing": (closes_with_a_mess, Reason.GUEST_CLOSED, "99: ?]0;owned"),
    "abort": (hangs_up_politely, Reason.UNKNOWN, "?[2Jxxx"),
}


async def test_breaches_of_the_protocol_are_named(world: World) -> None:
    """All at once, and a VIF each."""
    liars = {what: Liar(talk) for what, (talk, _, _) in BREACHES.items()}
    began = time.monotonic()
    async with world.attacked({vif(what): liar.serving for what, liar in liars.items()}):
        for what, (_, code, words) in BREACHES.items():
            session = await world.failed(vif(what), {code})
            assert words in session.error, (what, session)
            await world.honest_is_served()
    for what, liar in liars.items():
        assert liar.sessions <= 6 + 2 * (time.monotonic() - began), what


def vif(what: str) -> str:
    return "liar-" + "".join(c if c.isalnum() else "-" for c in what)


async def test_forged_and_replayed_acks_have_no_effect(world: World) -> None:
    """Of what was never sent, of what is to come, of other keys, of another VIF's; then once more of what was true."""
    secret = await world.feed.put(HONEST, "secret", b"", "")
    asked = asyncio.Event()

    async def talk(liar: Liar) -> None:
        await liar.welcome()
        begin = await liar.begun("a")
        for _ in range(3):
            await liar.acks(
                [("a", begin.revision + n) for n in (1, 2, 1000, 2**63, 2**64 - 1 - begin.revision)]
            )
            await liar.acks([("b", 1), ("secret", secret), ("\x1b[2J", 1), ("", 0), ("y" * 5000, 1)])
            for outcome in (pb.DocumentAck.REJECTED, pb.DocumentAck.FAILED, pb.DocumentAck.STALE):
                await liar.acks([("a", begin.revision + 1), ("secret", secret)], outcome, error="\x1b[2J")
        await asked.wait()
        await liar.acks([("a", begin.revision)])
        second = await liar.begun("b")
        for _ in range(3):
            await liar.acks([("a", begin.revision), ("b", second.revision + 1)])  # replayed; to come
        await liar.beats()

    liar = Liar(talk)
    revision = await world.feed.put("forger", "a", b"1", "")
    async with world.attacked({"forger": liar.serving}):
        await eventually(lambda: said(liar, 2 + 3 * 5), "all lies told")
        await world.honest_is_served(4)
        delivery = await world.feed.delivery("forger", "a")
        assert delivery is not None
        assert (delivery.acknowledged, delivery.answered, delivery.outcome) == (0, 0, None)
        asked.set()
        async with asyncio.timeout(60):
            assert (await world.feed.settled("forger", "a", revision)).acknowledged == revision
        other = await world.feed.put("forger", "b", b"2", "")
        await eventually(lambda: said(liar, 2 + 3 * 5 + 1 + 3 + 5), "the rest, and heartbeats")
        delivery = await world.feed.delivery("forger", "b")
        assert delivery is not None
        assert (delivery.document.revision, delivery.acknowledged) == (other, 0)
        assert await world.feed.put("forger", "a", b"3", "") == revision + 1
    assert liar.sessions == 1
    held = await world.feed.delivery(HONEST, "secret")
    assert held is not None
    assert held.outcome is not None
    assert not held.error


async def said(liar: Liar, count: int) -> bool:
    return liar.sent >= count


@pytest.mark.parametrize("lie", [2**63 - 1, 2**63 - 2, limits.REVISION_LEAP + 2])
async def test_an_inventory_from_the_future_does_not_use_up_the_revisions(world: World, lie: int) -> None:
    """The next put goes beyond what a guest holds: what it says is not taken when that would leave nothing."""
    name = f"future-{lie}"

    async def talk(liar: Liar) -> None:
        await liar.welcome(a=lie)
        await liar.beats()

    assert await world.feed.put(name, "a", b"", "") == 1
    async with world.attacked({name: Liar(talk).serving}):
        session = await world.failed(name, {PROTOCOL})
        assert f"revision {lie} of 'a' cannot be held: 1 is the newest there is" in session.error
        assert await world.feed.put(name, "a", b"", "") == 2
        delivery = await world.feed.delivery(name, "a")
        assert delivery is not None
        assert delivery.acknowledged == 0


async def test_a_stale_answer_does_not_use_up_the_revisions(world: World) -> None:
    async def talk(liar: Liar) -> None:
        await liar.welcome()
        begin = await liar.begun("a")
        await liar.acks([("a", begin.revision)], pb.DocumentAck.STALE, held_revision=2**63 - 1)
        await liar.beats()

    await world.feed.put("stale", "a", b"", "")
    async with world.attacked({"stale": Liar(talk).serving}):
        session = await world.failed("stale", {PROTOCOL})
        assert "cannot be held" in session.error
        assert await world.feed.put("stale", "a", b"", "") == 2


async def test_floods_of_reports_and_of_heartbeats_are_slowed(world: World) -> None:
    """Reports of a mebibyte and of nothing, far beyond the quota and without waiting for acks; and heartbeats."""

    def reports(size: int) -> Any:
        async def talk(liar: Liar) -> None:
            await liar.welcome()
            for sequence in range(1, 1 << 40):
                await liar.say(report=report(sequence, bytes(size)))

        return talk

    async def heartbeats(liar: Liar) -> None:
        await liar.welcome()
        while True:
            await liar.say(heartbeat=pb.Heartbeat())

    liars = {"large": Liar(reports(MIB)), "small": Liar(reports(0)), "beats": Liar(heartbeats)}
    async with world.attacked({f"flood-{name}": liar.serving for name, liar in liars.items()}):
        for name, liar in liars.items():
            await eventually(lambda one=liar: said(one, 20), f"{name}: some taken")
        await world.honest_is_served(20)
        for name in liars:
            session = await world.session(f"flood-{name}")
            assert session is not None
            assert session.state is SessionState.READY, session
        sizes = [len(stored.report.data) for stored in await world.feed.reports("flood-large")]
        assert sum(sizes) <= 64 * MIB
