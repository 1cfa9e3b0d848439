# SPDX-License-Identifier: Apache-2.0
"""Each attack of the catalogue on the wire: its verdict is counted, none of it reaches the neighbour, and the
hypervisor's stack is reached by the allowed kinds alone, to no listener and into no connection.

The attacks of one engine run once, one after the other; the tests look at what came of them.
"""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.attacks.campaign import AT_THE_HYPERVISOR, AT_THE_NEIGHBOUR, Channel, campaign
from tests.attacks.catalogue import ATTACKS
from tests.attacks.conftest import Lab
from tests.attacks.kinds import wrong_to_guest, wrong_to_hypervisor
from tests.attacks.stack import Stack, established, listeners

pytestmark = [pytest.mark.root, pytest.mark.e2e, pytest.mark.timeout(300)]


@dataclass
class Outcome:
    """What came of the attacks."""

    lab: Lab
    sent: dict[str, int] = field(default_factory=dict)
    verdicts: dict[str, dict[str, int]] = field(default_factory=dict)
    arrivals: dict[str, set[str]] = field(default_factory=dict)
    strangers: list[str] = field(default_factory=list)
    reached: list[str] = field(default_factory=list)
    seen: dict[str, int] = field(default_factory=dict)
    delivered: int = 0
    before: Stack | None = None
    after: Stack | None = None
    route: str = ""


@pytest.fixture(scope="module")
def outcome(attacked: Lab) -> Iterator[Outcome]:
    lab, found = attacked.handle, Outcome(attacked)
    with listeners(lab) as listening, campaign(lab) as attack:
        lab.wait_acked("vm2", "before", lab.put("vm2", "before", b"x"))
        connection = established(lab, attack.guest.vif.lip)
        found.before = Stack.of(lab)
        marks = {name: secrets.token_bytes(16) for name in ATTACKS}
        channel = Channel(lab)
        for name, one in ATTACKS.items():
            frames = list(one.build(attack.guest, connection, marks[name]))
            found.sent[name] = len(frames)
            with channel.in_use():
                found.verdicts[name] = attack.send(frames)
        found.delivered = channel.delivered
        attack.at_the_neighbour()
        found.after = Stack.of(lab)
        found.reached = listening.reached()
        found.route = lab.run_in(
            "host", ["ip", "route", "get", lab.vifs()["vm2"].lip], check=True
        ).stdout.decode()
        found.arrivals = {name: attack.arrivals(mark) for name, mark in marks.items()}
        found.strangers = attack.strangers()
        found.seen = {
            hop: len(attack.capture.frames(hop, outgoing=False))
            for hop in (AT_THE_HYPERVISOR, AT_THE_NEIGHBOUR)
        }
        assert attack.capture.dropped() == 0
    yield found


@pytest.mark.parametrize("name", ATTACKS)
def test_each_frame_is_counted_under_its_verdict(outcome: Outcome, name: str) -> None:
    verdict, sent = ATTACKS[name].verdict, outcome.sent[name]
    assert sent > 0
    if ATTACKS[name].cut and not outcome.verdicts[name]:
        return
    assert outcome.verdicts[name] == ({} if verdict == "forwarded" else {verdict: sent})


@pytest.mark.parametrize("name", ATTACKS)
def test_none_reaches_the_neighbour_and_the_hypervisor_none_that_is_dropped(
    outcome: Outcome, name: str
) -> None:
    allowed = {AT_THE_HYPERVISOR} if ATTACKS[name].verdict == "forwarded" else set()
    assert outcome.arrivals[name] <= allowed


def test_every_frame_that_arrived_is_of_an_allowed_kind(outcome: Outcome) -> None:
    assert all(outcome.seen.values()), "something was seen at each end"
    assert outcome.strangers == []


def test_no_listener_is_reached_and_no_connection_made(outcome: Outcome) -> None:
    assert outcome.reached == []
    assert outcome.after is not None
    assert outcome.before is not None
    assert outcome.after.passive_opens == outcome.before.passive_opens


def test_hostds_connections_are_those_of_before(outcome: Outcome) -> None:
    """Neither a RST nor data out of the window ends one, and no other comes into being."""
    assert outcome.after is not None
    assert outcome.before is not None
    assert outcome.after.connections == outcome.before.connections


def test_the_path_to_the_neighbour_is_what_it_was(outcome: Outcome) -> None:
    """An ICMP error that quoted the neighbour's traffic would have left an MTU there."""
    assert "mtu" not in outcome.route


def test_documents_arrive_during_the_attacks_and_after_them(outcome: Outcome) -> None:
    assert outcome.delivered == len(ATTACKS)
    with Channel(outcome.lab.handle).in_use():
        pass


def test_the_reader_of_kinds_refuses_what_differs_in_one_thing(attacked: Lab) -> None:
    """What makes "of an allowed kind" mean something."""
    with campaign(attacked.handle) as attack:
        guest, ends = attack.guest, attack.ends
        whole = bytes(guest.ether() / guest.ip(src=guest.vif.lip) / b"")
        udp = whole[:23] + b"\x11" + whole[24:34] + bytes.fromhex("00099c4900080000")
        assert wrong_to_hypervisor(udp, ends) is None
        for place in (0, 6, 12, 14, 20, 23, 26, 30, 36):
            changed = bytearray(udp)
            changed[place] ^= 0x81
            assert wrong_to_hypervisor(bytes(changed), ends) is not None, place
        assert wrong_to_guest(udp, attacked.handle.topology.vm("vm2").mac, ends) is not None
