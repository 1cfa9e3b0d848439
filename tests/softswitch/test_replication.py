# SPDX-License-Identifier: Apache-2.0
"""Clones, resubmission, recirculation and multicast, beyond what stf/copies.stf shows: bounds, traces, sessions."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest
from hvchannel_softswitch.engine import CloneSession, Replica
from hvchannel_softswitch.interpreter import Interpreter
from hvchannel_softswitch.interpreter.traffic import MAX_PASSES
from hvchannel_softswitch.trace import Tracer

if TYPE_CHECKING:
    from conftest import Bench


def traced(bench: Bench, frame: str) -> dict[str, Any]:
    sink = io.StringIO()
    bench.engine.set_tracer(Tracer(sink, as_json=True))
    bench.run(3, bytes.fromhex(frame))
    bench.engine.set_tracer(None)
    record: dict[str, Any] = json.loads(sink.getvalue())
    return record


def steps(record: dict[str, Any], *names: str) -> list[dict[str, Any]]:
    return [step for step in record["steps"] if any(name in step for name in names)]


def test_a_session_cuts_its_clones(copies: Bench) -> None:
    copies.engine.set_clone_session(5, CloneSession((Replica(2, 7), Replica(4, 8)), packet_length=3))
    sent = copies.run(3, bytes.fromhex("0100aabb"))
    assert sorted(sent) == [
        (1, bytes.fromhex("0101000100010104aabb")),
        (2, bytes.fromhex("010001")),
        (4, bytes.fromhex("010001")),
    ]
    assert copies.engine.clone_sessions() == {5: CloneSession((Replica(2, 7), Replica(4, 8)), 3)}
    copies.engine.set_clone_session(5, None)
    copies.engine.set_clone_session(5, None)
    assert copies.engine.clone_sessions() == {}


@pytest.mark.parametrize("order", ["0700", "0800"])
def test_a_frame_without_end_is_ended_and_counted(copies: Bench, order: str) -> None:
    copies.engine.set_clone_session(6, CloneSession((Replica(2), Replica(3))))
    sent = copies.run(3, bytes.fromhex(order))
    assert copies.engine.overruns == 1
    assert len(sent) <= MAX_PASSES
    [(port, _)] = copies.run(3, bytes.fromhex("0000"))
    assert port == 1, "the next frame is none the worse for it"


def test_a_loop_without_end_is_left_and_counted(choice: Bench) -> None:
    [(port, _)] = choice.run(3, bytes.fromhex("14000000"))
    assert (port, choice.engine.overruns) == (0, 1)


def test_groups_are_read_back_and_deleted(copies: Bench) -> None:
    engine = copies.engine
    engine.set_multicast_group(7, (Replica(1, 1), Replica(1, 2)))
    assert engine.multicast_groups() == {7: (Replica(1, 1), Replica(1, 2))}
    assert len(copies.run(3, bytes.fromhex("0507"))) == 2
    engine.set_multicast_group(7, None)
    engine.set_multicast_group(7, None)
    assert copies.run(3, bytes.fromhex("0507")) == []


def test_traces_follow_the_copies(copies: Bench) -> None:
    copies.engine.set_clone_session(5, CloneSession((Replica(2, 7),)))
    record = traced(copies, "0100")
    assert [out["port"] for out in record["out"]] == [2, 1]
    assert steps(record, "cloned", "egress") == [
        {"cloned": "ingress", "session": 5, "to": [[2, 7]]},
        {"egress": 2, "instance": 7, "as": "ingress clone"},
        {"egress": 1, "instance": 0, "as": "normal"},
    ]
    assert steps(traced(copies, "0200"), "cloned") == [{"cloned": "egress", "session": 6, "to": None}]
    assert steps(traced(copies, "0305"), "resubmitted", "again") == [
        {"resubmitted": True},
        {"again": "resubmitted", "frame": "0305"},
    ]
    assert steps(traced(copies, "0405"), "recirculated", "again") == [
        {"recirculated": True},
        {"again": "recirculated", "frame": "0406"},
    ]
    record = traced(copies, "0509")
    assert record["verdict"] == "dropped"
    assert steps(record, "multicast") == [{"multicast": 9, "to": []}]


def test_text_traces_follow_the_copies(copies: Bench) -> None:
    sink = io.StringIO()
    copies.engine.set_clone_session(5, CloneSession((Replica(2, 7),)))
    copies.engine.set_multicast_group(7, (Replica(1), Replica(2, 3)))
    copies.engine.set_tracer(Tracer(sink, as_json=False))
    for order in ("0100", "0200", "0305", "0405", "0507"):
        copies.run(3, bytes.fromhex(order))
    text = sink.getvalue()
    for line in (
        "clone    of ingress, session 5: port 2 instance 7",
        "egress   port 2: ingress clone, instance 7",
        "clone    of egress, session 6: not configured",
        "resubmit",
        "ingress  resubmitted: 0305",
        "recirculate",
        "ingress  recirculated: 0406",
        "copy     multicast group 7: port 1, port 2 instance 3",
    ):
        assert f"  {line}\n" in text


def test_a_program_that_does_not_replicate_is_one_function(lookup: Bench, copies: Bench) -> None:
    def functions(engine: Interpreter) -> list[str]:
        return [line.split("(")[0] for line in engine.source().splitlines() if line.startswith("def ")]

    assert functions(lookup.engine) == ["def process"]
    assert functions(copies.engine) == ["def ingress", "def egress"]
