# SPDX-License-Identifier: Apache-2.0
"""Of all 65,536 EtherTypes a guest's frame passes with one, and is read as ARP with another."""

from collections import Counter

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Dot1Q, Ether

from tests.attacks.campaign import Channel, campaign
from tests.attacks.conftest import Lab
from tests.p4src.conftest import CIP, HYPERVISOR_IP, HYPERVISOR_MAC, VIFS, VLAN, VSwitch, host

__all__ = ["host"]

IPV4, ARP, ALL = 0x0800, 0x0806, 1 << 16
STEP = 89
"""Of the sample on the wire."""


def with_type(frame: bytes, kind: int, place: int) -> bytes:
    return frame[:place] + kind.to_bytes(2, "big") + frame[place + 2 :]


def test_the_program_passes_one_ether_type_of_all(host: VSwitch) -> None:
    ether = Ether(src=VIFS[0].mac, dst=HYPERVISOR_MAC)
    datagram = IP(src=CIP, dst=HYPERVISOR_IP) / UDP(sport=9, dport=40009)
    tagged, untagged = bytes(ether / Dot1Q(vlan=VLAN) / datagram), bytes(ether / datagram)
    passed = [kind for kind in range(ALL) if host.send(VIFS[0].port, with_type(tagged, kind, 16))]
    assert passed == [IPV4]
    # The datagram, read as ARP, is nobody's question.
    assert host.verdicts() == {"forwarded": 1, "drop_malformed": 1, "drop_ether_type": ALL - 2}
    # Without the tag of an attachment every one is refused, that of a tag included.
    assert [kind for kind in range(0, ALL, 7) if host.send(VIFS[0].port, with_type(untagged, kind, 12))] == []
    assert host.send(VIFS[0].port, with_type(untagged, 0x8100, 12)) == []


@pytest.mark.root
@pytest.mark.e2e
@pytest.mark.timeout(600)
def test_on_the_wire_none_but_ipv4_arrives(attacked: Lab) -> None:
    kinds = [kind for kind in range(0, ALL, 1 if attacked.is_long else STEP) if kind not in (IPV4, ARP)]
    with campaign(attacked.handle) as attack, Channel(attacked.handle).in_use():
        frame = bytes(attack.guest.tagged() / attack.guest.ip() / UDP(sport=9, dport=40009))
        counted: Counter[str] = Counter()
        for start in range(0, len(kinds), 500):  # at a time: no port's buffer overflows
            counted.update(attack.send(with_type(frame, kind, 16) for kind in kinds[start : start + 500]))
        attack.at_the_neighbour()
        assert counted == {"drop_ether_type": len(kinds)}
        assert attack.strangers() == []
