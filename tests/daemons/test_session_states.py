# SPDX-License-Identifier: Apache-2.0
"""The session's state machine: no run leaves its table, what it remembers is right, and the document says the same."""

import asyncio
import itertools
import re
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from hvchannel_daemons.channel import channel_pb2 as pb
from hvchannel_daemons.channel.closing import SessionOver
from hvchannel_daemons.channel.pulse import PeerSilent
from hvchannel_daemons.feed import Claim, FeedAwayError, FeedError, Session, SessionState
from hvchannel_daemons.feed.interface import Contended
from hvchannel_daemons.hostd import link
from hvchannel_daemons.hostd.backoff import Pause
from hvchannel_daemons.hostd.endings import AckOverdue, CallEnded, GuestClosed, ending
from hvchannel_daemons.hostd.route import WrongRoute
from hvchannel_daemons.hostd.session import Peer, Settings
from hvchannel_daemons.hostd.states import NEXT, Ending, Machine, WrongTransitionError
from hvchannel_daemons.reasons import Reason
from hypothesis import given, settings
from hypothesis import strategies as st

SESSIONS = Path(__file__).parents[2] / "docs" / "sessions.md"
ENDINGS = st.builds(Ending, st.sampled_from([r for r in Reason if r]), st.sampled_from(["one", "other"]))
FAR = [SessionState.CONNECTING, SessionState.NEGOTIATING, SessionState.SYNCING, SessionState.READY]


def machine() -> Machine:
    clock = itertools.count(1)
    return Machine("vm1", "169.254.1.10:2345", "hv1", lambda: next(clock))


STEPS: dict[str, Callable[[Machine], None]] = {
    "connecting": Machine.connecting,
    "negotiating": Machine.negotiating,
    "syncing": lambda m: m.syncing(1, "guest"),
    "ready": Machine.ready,
    "ended": lambda m: m.ended(Ending(Reason.LOST, "lost"), damped=False, pause_seconds=1),
    "contended": lambda m: m.contended("vm1 is served by hypervisor hv2"),
    "damped": lambda m: m.ended(Ending(Reason.LOST, "lost"), damped=True, pause_seconds=1),
}


@given(st.lists(st.sampled_from(sorted(STEPS))))
def test_no_step_leaves_the_table(steps: list[str]) -> None:
    m = machine()
    for step in steps:
        before = m.record()
        try:
            STEPS[step](m)
        except WrongTransitionError:
            assert m.record() == before, "a refused step changes nothing"
            continue
        after = m.record()
        first = step == "connecting" and before.state is SessionState.CONNECTING and before.attempts == 0
        assert first or after.state in NEXT[before.state]
        away = (SessionState.BACKOFF, SessionState.FLAPPING, SessionState.CONTENDED)
        assert bool(after.code) == (after.state in away)
        assert bool(after.next_unix_ns) == (after.state in away[:2])
        assert (after.attempts, after.sessions) >= (before.attempts, before.sessions)
        assert after.error_unix_ns >= before.error_unix_ns


class Records:
    """Of a feed what a link needs. The VIF is another hypervisor's at first."""

    def __init__(self, contended: bool) -> None:
        self.sessions: list[Session] = []
        self.contended = contended

    async def claim(self, vif: str, contended: Contended) -> Claim:
        if self.contended:
            await contended("hv2")
            await contended("hv3")
        return Claim(vif)

    async def set_session(self, session: Session) -> None:
        self.sessions.append(session)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.sampled_from(FAR), st.booleans(), ENDINGS), min_size=1, max_size=8), st.booleans()
)
def test_no_run_of_a_link_leaves_the_table(attempts, contended: bool) -> None:
    """`attempts`: how far each gets, whether it is damped then, and why it ends."""
    feed, done = Records(contended), asyncio.Event()

    class Scripted(link.VifLink):
        async def _attempt(self, claim, over) -> Ending:
            if not attempts:
                done.set()
                await self._stop
                return Ending(Reason.DETACHED, "")
            far, self.damped, why = attempts.pop(0)
            if far is not SessionState.CONNECTING:
                self._machine.negotiating()
                await self._show()
            for state in FAR[2 : FAR.index(far) + 1]:
                await self._observe(state, Peer(1, "guest"))
            return why

        def _pause(self) -> Pause:
            return Pause(0, self.damped)

    async def run() -> None:
        scripted = Scripted("vm1", "127.0.0.1", 1, feed, Settings(), host="hv1", source=None)
        async with asyncio.timeout(10):
            await done.wait()
        await scripted.stop(link.detached())

    asyncio.run(run())
    shown = feed.sessions
    assert shown[0].state is (SessionState.CONTENDED if contended else SessionState.CONNECTING)
    for before, after in itertools.pairwise(shown):
        # a retry is not shown as CONNECTING
        shortcut = after.state in NEXT[SessionState.CONNECTING] and before.code
        assert after.state in NEXT[before.state] or shortcut, (before, after)
        assert (after.state, after.code, after.reason) != (before.state, before.code, before.reason)


def test_what_is_remembered() -> None:
    m = machine()
    m.connecting()
    m.ended(Ending(Reason.REFUSED, "refused"), damped=False, pause_seconds=0.5)
    since = m.record().since_unix_ns
    m.connecting()
    m.ended(Ending(Reason.TIMEOUT, "no answer"), damped=False, pause_seconds=0.5)
    assert m.record().since_unix_ns == since, "it has been away since the first failure"
    assert m.record().next_unix_ns == m.record().error_unix_ns + 500_000_000
    m.connecting()
    m.negotiating()
    m.syncing(1, "guest 1.0")
    m.ready()
    ready = m.record()
    assert (ready.code, ready.reason, ready.next_unix_ns) == (Reason.NONE, "", 0)
    assert (ready.error_code, ready.error) == (Reason.TIMEOUT, "no answer"), "the last error outlives it"
    assert (ready.attempts, ready.sessions, ready.version, ready.agent) == (3, 1, 1, "guest 1.0")
    m.ended(Ending(Reason.LOST, "lost"), damped=True, pause_seconds=4)
    assert (m.record().state, m.record().version) == (SessionState.FLAPPING, 0)
    with pytest.raises(
        WrongTransitionError, match=r"FLAPPING is followed by READY \(valid: CONNECTING, CONTENDED\)"
    ):
        m.ready()


def refused(details: str, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (WrongRoute("no route"), Reason.NO_ROUTE),
        (refused("connect: Network is unreachable"), Reason.NO_ROUTE),
        (refused("connect: No route to host"), Reason.NO_ARP),
        (refused("connect: Connection refused"), Reason.REFUSED),
        (refused("Socket closed"), Reason.LOST),
        (refused("Deadline", grpc.StatusCode.DEADLINE_EXCEEDED), Reason.TIMEOUT),
        (refused("what is this", grpc.StatusCode.UNIMPLEMENTED), Reason.UNKNOWN),
        (refused("last error: Failed parsing HTTP/2 (Expected SETTINGS)"), Reason.PROTOCOL_ERROR),
        (CallEnded(grpc.StatusCode.UNAVAILABLE, "Socket closed"), Reason.LOST),
        (CallEnded(grpc.StatusCode.RESOURCE_EXHAUSTED, "larger than max"), Reason.LIMIT_EXCEEDED),
        (CallEnded(grpc.StatusCode.CANCELLED, "RST_STREAM (Received 8)"), Reason.LOST),
        (CallEnded(grpc.StatusCode.UNKNOWN, "Connection refused\n"), Reason.UNKNOWN),  # says the guest
        (TimeoutError("no answer"), Reason.TIMEOUT),
        (PeerSilent("nothing heard for 3.0 s"), Reason.SILENT),
        (SessionOver(pb.Closing.SILENT, "no Welcome"), Reason.SILENT),
        (AckOverdue("no ack of a"), Reason.ACK_OVERDUE),
        (SessionOver(pb.Closing.PROTOCOL_ERROR, "what"), Reason.PROTOCOL_ERROR),
        (SessionOver(pb.Closing.LIMIT_EXCEEDED, "too much"), Reason.LIMIT_EXCEEDED),
        (SessionOver(pb.Closing.VERSION_MISMATCH, "version 9"), Reason.VERSION_MISMATCH),
        (GuestClosed(pb.Closing(reason=pb.Closing.VERSION_MISMATCH)), Reason.VERSION_MISMATCH),
        (GuestClosed(pb.Closing(reason=pb.Closing.SHUTTING_DOWN)), Reason.GUEST_CLOSED),
        (GuestClosed(None), Reason.GUEST_CLOSED),
        (FeedAwayError("no servers"), Reason.FEED_AWAY),
        (FeedError("disk full"), Reason.FEED_FAILED),
        (link.detached(), Reason.DETACHED),
        (link.shutting_down(), Reason.SHUTTING_DOWN),
        (ValueError("a bug"), Reason.INTERNAL),
    ],
)
def test_every_ending_has_a_code_and_one_line(error: Exception, code: Reason) -> None:
    ended = ending(error, "169.254.1.10:2345")
    assert ended.code is code
    assert ended.line.isprintable()
    assert ended.line


def test_a_code_of_a_newer_program_is_read() -> None:
    assert Reason.read("FROM_THE_FUTURE") is Reason.UNKNOWN
    assert Reason.read("") is Reason.NONE


def test_the_document_names_every_state_transition_and_code() -> None:
    text = SESSIONS.read_text()
    told = {(a, b) for a, b in re.findall(r"^ *([A-Z]+) --> ([A-Z]+)", text, re.MULTILINE)}
    assert told == {(before.value, after.value) for before, all_ in NEXT.items() for after in all_}
    rows = set(re.findall(r"^\| `([A-Z_]+)` \|", text, re.MULTILINE))
    assert rows == {state.value for state in SessionState} | {reason.value for reason in Reason if reason}
