# SPDX-License-Identifier: Apache-2.0
"""Multicast groups of programs in the kernel: what comes of a frame is what the interpreter makes of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import StringIO

import pytest
from hvchannel_softswitch.engine import ActionCall, EngineError, Replica
from hvchannel_softswitch.model import UnsupportedProgram, load
from hvchannel_softswitch.trace import Tracer
from hvchannel_softswitch.xdp.frames import CompiledEngine
from hvchannel_softswitch.xdp.layout import lay_out
from hvchannel_softswitch.xdp.replication import MOST_GROUPS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .engine_pair import Pair, pair
from .multicast_program import (
    CPU_PORT,
    HERE,
    MACS,
    PORTS,
    PROGRAM,
    REWRITE,
    ROUTE,
    push,
    rewrite,
    route,
    to_group,
)
from .wires import TYPE

pytestmark = pytest.mark.root

GROUPS = (1, 7, 65535)

# --- against the interpreter ------------------------------------------------------------------------------------------

replicas = st.lists(
    st.builds(Replica, st.sampled_from((*PORTS, 511, CPU_PORT)), st.sampled_from((0, 1, 65535))),
    max_size=6,
    unique_by=lambda replica: replica.port,
).map(tuple)
groups = st.dictionaries(st.sampled_from(GROUPS), replicas)
routes = st.dictionaries(
    st.sampled_from(MACS),
    st.one_of(
        st.builds(lambda port: ActionCall("MulticastIngress.to_port", (port,)), st.sampled_from(PORTS)),
        st.builds(to_group, st.sampled_from((0, 5, *GROUPS)), st.integers(0, 255)),
        st.builds(
            lambda g: ActionCall("MulticastIngress.to_group_dropped", (g,)), st.sampled_from((0, *GROUPS))
        ),
        st.builds(lambda g: ActionCall("MulticastIngress.reported", (g,)), st.sampled_from(GROUPS)),
    ),
)
rewrites = st.dictionaries(
    st.tuples(st.sampled_from((*PORTS, CPU_PORT)), st.sampled_from((0, 1, 65535))),
    st.one_of(
        st.builds(push, st.integers(0, 4095)),
        st.sampled_from(
            [ActionCall(f"MulticastEgress.{name}", ()) for name in ("pop", "note", "drop", "keep")]
        ),
        st.builds(lambda length: ActionCall("MulticastEgress.cut", (length,)), st.integers(14, 80)),
    ),
)


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    mac, source = draw(st.sampled_from(MACS)), draw(st.integers(0, 2**48 - 1))
    tags = b"".join(
        b"\x81\x00" + draw(st.integers(0, 65535)).to_bytes(2) for _ in range(draw(st.integers(0, 4)))
    )
    whole = mac.to_bytes(6) + source.to_bytes(6) + tags + TYPE + draw(st.binary(max_size=60))
    return whole[: draw(st.integers(0, len(whole)))] if draw(st.integers(0, 9)) == 0 else whole


@pytest.fixture(scope="module")
def both() -> Iterator[Pair]:
    with pair(PROGRAM, CPU_PORT) as made:
        yield made


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    groups=groups,
    routes=routes,
    rewrites=rewrites,
    sent=st.lists(st.tuples(st.sampled_from(PORTS), frames())),
)
def test_replicas_are_those_of_the_interpreter(both, groups, routes, rewrites, sent):
    both.reset()
    for group in GROUPS:
        both.both("set_multicast_group", group, groups.get(group))
    assert both.both("multicast_groups") == groups
    for mac, call in routes.items():
        both.insert(ROUTE, route(mac), call)
    for (port, rid), call in rewrites.items():
        both.insert(REWRITE, rewrite(port, rid), call)
    both.flush()
    for port, frame in sent:
        both.now += 1_000_000
        both.process(port, frame)
    both.compare()


def test_ingress_and_egress_both_leave_their_marks(both):
    both.reset()
    both.both("set_multicast_group", 7, (Replica(1, 1), Replica(2), Replica(CPU_PORT, 65535)))
    both.insert(ROUTE, route(MACS[0]), ActionCall("MulticastIngress.reported", (7,)))
    both.insert(REWRITE, rewrite(1, 1), ActionCall("MulticastEgress.note", ()))
    both.insert(REWRITE, rewrite(CPU_PORT, 65535), push(9))
    both.flush()
    frame = MACS[0].to_bytes(6) + bytes(6) + b"\x81\x00\x00\x07" + TYPE + bytes(46)
    found = dict(both.process(4, frame))
    assert set(found) == {1, 2, CPU_PORT}
    assert found[2] == MACS[0].to_bytes(6) + (1).to_bytes(6) + b"\x81\x00" + bytes(46)
    assert found[CPU_PORT][12:18] == b"\x81\x00\x00\x09\x81\x00"
    assert found[1][12:20] == bytes.fromhex("88b6 05 01 0001 0040")
    assert both.told


def test_traces_are_those_of_the_interpreter(both):
    both.reset()
    both.both("set_multicast_group", 7, (Replica(1, 1), Replica(2), Replica(3)))
    both.both("set_multicast_group", 1, None)
    both.insert(ROUTE, route(1), ActionCall("MulticastIngress.reported", (7,)))
    both.insert(ROUTE, route(2), to_group(1))
    both.insert(ROUTE, route(3), ActionCall("MulticastIngress.to_port", (3,)))
    both.insert(REWRITE, rewrite(1, 1), ActionCall("MulticastEgress.drop", ()))
    both.insert(REWRITE, rewrite(2, 0), push(5))
    both.flush()
    told = []
    for engine in (both.reference, both.compiled):
        sink = StringIO()
        tracer = Tracer(sink, as_json=True)
        engine.set_tracer(tracer)
        for mac in (1, 2, 3, 4):
            engine.process(4, mac.to_bytes(6) + bytes(6) + TYPE + bytes(46))
        engine.set_tracer(None)
        told.append([{**json.loads(line), "time_ns": 0} for line in sink.getvalue().splitlines()])
    for side in both._sides:
        side.taken()
    assert told[0] == told[1]
    assert [len(packet["out"]) for packet in told[1]] == [2, 0, 1, 0]
    assert {"multicast": 7, "to": [[1, 1], [2, 0], [3, 0]]} in told[1][0]["steps"]


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("group", "members", "reason"),
    [
        (0, (), "multicast group 0 is not valid (valid: 1 to 65535)"),
        (65536, (), "multicast group 65536 is not valid (valid: 1 to 65535)"),
        (7, (Replica(512),), "multicast group 7: port 512 is not valid (valid: 0 to 511)"),
        (7, (Replica(1, 65536),), "multicast group 7: instance 65536 is not valid (valid: 0 to 65535)"),
        (
            7,
            (Replica(1, 2), Replica(2), Replica(1, 3)),
            "multicast group 7 has port 1 twice, with instances 2 and 3, and the kernel copies a frame to a port once: "
            "give the port one instance, or run the switch with --engine interpreter",
        ),
    ],
)
def test_groups_that_the_kernel_cannot_make_are_refused(both, group, members, reason):
    with pytest.raises(EngineError) as refusal:
        both.compiled.set_multicast_group(group, members)
    assert str(refusal.value) == reason
    assert 0 not in both.compiled.multicast_groups()


def test_there_is_an_end_to_groups(both):
    for group in list(both.compiled.multicast_groups()):
        both.compiled.set_multicast_group(group, None)
    for group in range(1, MOST_GROUPS + 1):
        both.compiled.set_multicast_group(group, (Replica(1),))
    with pytest.raises(EngineError, match=f"multicast group 5000: there are {MOST_GROUPS} groups"):
        both.compiled.set_multicast_group(5000, (Replica(1),))
    both.compiled.set_multicast_group(5, (Replica(2),))
    for group in list(both.compiled.multicast_groups()):
        both.compiled.set_multicast_group(group, None)


@pytest.mark.parametrize("name", ["lookup", "shapes", "stamps"])
def test_programs_that_do_not_multicast_have_nothing_of_it(name):
    program = load((HERE / "programs" / f"{name}.json").read_bytes())
    assert lay_out(program, 2).replication is None
    with pair(program) as others:  # where a group is of no account, any is taken
        others.both("set_multicast_group", 0, (Replica(1), Replica(1, 2)))


def test_programs_whose_packets_pass_twice_are_still_refused():
    program = load((HERE / "stf" / "copies.json").read_bytes())
    with pytest.raises(UnsupportedProgram, match="resubmit is used"):
        CompiledEngine(
            program, frames=lambda *_: None, digests=lambda *_: None, drop_port=511
        ).compiled.build()
