# SPDX-License-Identifier: Apache-2.0
"""How evidence is read: cases that a lab does not make by itself, and that no evidence makes the reading fail."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
from hvchannel_control.api import control_pb2 as pb
from hvchannel_daemons.diagnosis.evidence import Evidence, FromController, FromFeed, FromGuest, FromHostd
from hvchannel_daemons.diagnosis.hops import Diagnosis, State
from hvchannel_daemons.diagnosis.walk import walk
from hvchannel_daemons.feed import Owner, Session, SessionState
from hvchannel_daemons.reasons import Reason
from hypothesis import given
from hypothesis import strategies as st

ANSWER = pb.ProbeResult
TO = ["attachment", "forward", "member", "tag", "translate"]
BACK = ["attachment", "source_guard", "restore"]


def session(state: SessionState = SessionState.READY, code: Reason = Reason.NONE, line: str = "") -> Session:
    return Session(
        *("vm1", state, line, time.time_ns(), "169.254.1.10:2345", 1, "guest", "hv1"),
        *(code, code, line, time.time_ns() if code else 0),
    )


def probe(
    echo: ANSWER.Answer.ValueType = ANSWER.ANSWERED,
    tcp: ANSWER.Answer.ValueType = ANSWER.ANSWERED,
    to: tuple[int, ...] = (6, 6, 6, 6, 6),
    back: tuple[int, ...] = (6, 6, 6),
) -> pb.ProbeResult:
    def steps(tables: list[str], counts: tuple[int, ...]) -> list[pb.ProbeStep]:
        return [
            pb.ProbeStep(table=table, count=pb.Count(packets=count))
            for table, count in zip(tables, counts, strict=True)
        ]

    return pb.ProbeResult(sent=6, echo=echo, tcp=tcp, to=steps(TO, to), back=steps(BACK, back))


def inspection(mac: str = "02:00:00:00:00:01", vlan: int = 4094, rise: int = 0) -> pb.Inspection:
    link = pb.Link(state=pb.Link.UP, interface="vnic1")
    vif = pb.Vif(vif_id="vm1", mac=mac, port=2, vlan=vlan, lip="169.254.1.10", cip="169.254.1.2", link=link)
    entries = [
        pb.EntryState(
            table=table, match="", state=pb.EntryState.PRESENT, shared=shared, count=pb.Count(packets=rise)
        )
        for table, shared in (("attachment", True), ("forward", False))
    ]
    return pb.Inspection(vif=vif, entries=entries)


HEALTHY = Evidence(
    vif="vm1",
    host="hv1",
    feed_at="feed.db",
    feed=FromFeed(owner=Owner("hv1", alive=True), session=session(), documents=1),
    hostd=FromHostd(),
    socket=Path("control.sock"),
    controller=FromController(attached=True, inspection=inspection(), probe=probe()),
    guest=None,
)
SILENT = probe(ANSWER.NONE, ANSWER.NONE, back=(0, 0, 0))
DOWN = FromFeed(
    owner=Owner("hv1", alive=True), session=session(SessionState.BACKOFF, Reason.TIMEOUT, "no answer")
)


def with_probe(result: pb.ProbeResult, guest: FromGuest | None = None, feed: FromFeed = DOWN) -> Evidence:
    assert HEALTHY.controller is not None
    return replace(HEALTHY, feed=feed, guest=guest, controller=replace(HEALTHY.controller, probe=result))


def test_health() -> None:
    diagnosis = walk(HEALTHY)
    assert diagnosis.healthy and diagnosis.broken is None
    assert {hop.state for hop in diagnosis.hops} == {State.OK}
    # nobody to ask but the feed: the session vouches for what lies between
    alone = walk(replace(HEALTHY, hostd=None, socket=None, controller=None))
    assert alone.healthy
    assert [hop.name for hop in alone.hops if hop.state is State.UNKNOWN] == [
        *("controller", "host vSwitch", "VNIC")
    ]


@pytest.mark.parametrize(
    ("evidence", "hop", "says"),
    [
        (with_probe(SILENT), "guest vSwitch", "6 probe frames left for the VM, and nothing came back"),
        (
            with_probe(probe(ANSWER.NONE, ANSWER.NONE, back=(6, 0, 0))),
            "guest vSwitch",
            "dropped as spoofed",
        ),
        (
            with_probe(SILENT, FromGuest(before=inspection(vlan=7), after=inspection(vlan=7))),
            "guest vSwitch",
            "attached with VLAN 4094, and the guest expects 7",
        ),
        (
            with_probe(SILENT, FromGuest(before=inspection(), after=inspection())),
            "guest vSwitch",
            "did not arrive there",
        ),
        (
            with_probe(SILENT, FromGuest(before=inspection(), after=inspection(rise=6))),
            "guest vSwitch",
            "whose kernel is silent",
        ),
        (
            with_probe(probe(to=(6, 6, 0, 0, 0), back=(0, 0, 0))),
            "host vSwitch",
            "of 6 probe frames none hit table member",
        ),
        (with_probe(probe(tcp=ANSWER.NONE)), "guestd", "answers a ping, and no connection"),
        (
            with_probe(
                probe(), feed=replace(DOWN, session=session(SessionState.BACKOFF, Reason.NO_ROUTE, "no"))
            ),
            "hostd",
            "no",
        ),
        (
            with_probe(
                probe(), feed=replace(DOWN, session=session(SessionState.FLAPPING, Reason.LOST, "lost"))
            ),
            "guestd",
            "LOST: lost",
        ),
        (
            with_probe(
                probe(), feed=replace(DOWN, session=session(SessionState.FLAPPING, Reason.INTERNAL, "a bug"))
            ),
            "hostd",
            "a bug",
        ),
        (replace(HEALTHY, hostd=FromHostd(unwell={"controller": "away"})), "hostd", "its controller: away"),
        (
            replace(HEALTHY, feed=FromFeed(owner=Owner("hv2", alive=True), contenders=("hv1",))),
            "hostd",
            "hypervisor hv2 serves it",
        ),
        (
            replace(HEALTHY, feed=FromFeed(owner=Owner("hv1", alive=False))),
            "hostd",
            "hv1, which holds the VIF",
        ),
        (replace(HEALTHY, feed=FromFeed()), "hostd", "the VIF is attached, and no hostd holds it"),
    ],
)
def test_what_is_broken(evidence: Evidence, hop: str, says: str) -> None:
    diagnosis = walk(evidence)
    assert diagnosis.broken is not None
    assert (diagnosis.broken.name, says in diagnosis.broken.evidence) == (hop, True), diagnosis
    assert diagnosis.broken.remedy and not diagnosis.healthy


def test_the_holder_of_a_contended_vif_is_well() -> None:
    assert HEALTHY.feed.owner is not None
    assert walk(replace(HEALTHY, feed=replace(HEALTHY.feed, contenders=("hv2",)))).healthy


@given(
    st.builds(
        Evidence,
        vif=st.just("vm1"),
        host=st.sampled_from(["hv1", "hv2"]),
        feed_at=st.sampled_from(["feed.db", "nats://h:1/x"]),
        feed=st.builds(
            FromFeed,
            error=st.sampled_from(["", "away"]),
            owner=st.none() | st.builds(Owner, st.sampled_from(["hv1", "hv2"]), st.booleans()),
            session=st.none()
            | st.builds(
                session, st.sampled_from(list(SessionState)), st.sampled_from(list(Reason)), st.just("why")
            ),
            contenders=st.sampled_from([(), ("hv1",), ("hv2",)]),
        ),
        hostd=st.sampled_from(
            [None, FromHostd(), FromHostd(error="nobody answers at x"), FromHostd(error="late")]
        ),
        socket=st.just(Path("x")),
        controller=st.none()
        | st.builds(
            FromController,
            error=st.sampled_from(["", "away"]),
            attached=st.booleans(),
            inspection=st.sampled_from([pb.Inspection(error="away"), inspection()]),
            probe=st.sampled_from([pb.ProbeResult(), pb.ProbeResult(error="away"), SILENT, probe()]),
        ),
        guest=st.sampled_from(
            [
                None,
                FromGuest(error="away"),
                FromGuest(before=inspection(), after=inspection("02:00:00:00:00:09")),
            ]
        ),
    )
)
def test_whatever_is_found_one_verdict_comes_of_it(evidence: Evidence) -> None:
    diagnosis: Diagnosis = walk(evidence)
    assert len(diagnosis.hops) == 7
    for hop in diagnosis.hops:
        assert hop.evidence and "\n" not in hop.evidence
        assert bool(hop.remedy) == (hop.state is State.BROKEN)
    assert not (diagnosis.healthy and diagnosis.broken)
