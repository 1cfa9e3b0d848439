# SPDX-License-Identifier: Apache-2.0
"""Tiny frames as fast as one process sends them: the neighbour sees none, what is dropped is dropped for what it is or
policed, and documents go on to arrive in both VMs. How long they take is `make bench PART=flood`."""

import random
from collections.abc import Callable

import pytest
from hvchannel_lab.capture import CaptureTimeoutError
from scapy.layers.inet import UDP
from scapy.layers.l2 import ARP

from tests.attacks.campaign import PERMITTED, Channel, campaign
from tests.attacks.conftest import Lab
from tests.hostile_guest import HostileGuest

pytestmark = [pytest.mark.root, pytest.mark.e2e, pytest.mark.timeout(600)]
BROADCAST = "ff:ff:ff:ff:ff:ff"
SHORT, LONG = 4000, 40_000
"""Frames of each kind."""


def permitted(guest: HostileGuest) -> bytes:
    return bytes(guest.tagged() / guest.ip() / UDP(sport=9, dport=40009))


def random_macs(guest: HostileGuest, draw: random.Random) -> bytes:
    frame = permitted(guest)
    return frame[:7] + draw.randbytes(5) + frame[12:]


def random_vlans(guest: HostileGuest, draw: random.Random) -> bytes:
    frame = permitted(guest)
    return frame[:14] + draw.randrange(1, guest.vif.vlan).to_bytes(2, "big") + frame[16:]


def arp_storm(guest: HostileGuest, draw: random.Random) -> bytes:
    asked = ARP(
        op=1,
        hwsrc=guest.vm.mac,
        psrc=guest.vif.cip,
        pdst=f"169.254.{draw.randrange(2, 255)}.{draw.randrange(255)}",
    )
    return bytes(guest.tagged(dst=BROADCAST) / asked)


def multicast_storm(guest: HostileGuest, draw: random.Random) -> bytes:
    mac = "01:00:5e:" + draw.randbytes(3).hex(":")
    return bytes(guest.tagged(dst=mac) / guest.ip(dst="224.0.0.251") / UDP(sport=9, dport=40009))


FLOODS: dict[str, tuple[str, Callable[[HostileGuest, random.Random], bytes]]] = {
    "permitted": ("drop_policed", lambda guest, _: permitted(guest)),
    "random MACs": ("drop_spoofed", random_macs),
    "random VLANs": ("drop_unattached", random_vlans),
    "an ARP storm": ("drop_arp_unknown", arp_storm),
    "a multicast storm": ("drop_no_route", multicast_storm),
}


@pytest.mark.parametrize("what", FLOODS)
def test_a_flood_reaches_no_neighbour_and_stops_no_document(attacked: Lab, what: str) -> None:
    lab, (verdict, make) = attacked.handle, FLOODS[what]
    draw = random.Random(what)
    with campaign(lab) as attack:
        frames = [make(attack.guest, draw) for _ in range(200)]
        before, of_vm2 = lab.verdicts("host"), drops(lab.verdicts("vm2"))
        with Channel(lab).in_use():
            for place in range(LONG if attacked.is_long else SHORT):
                attack.guest.send(frames[place % len(frames)])
        attack.settle()
        attack.at_the_neighbour()
        after = lab.verdicts("host")
        gained = {
            name: n - before[name] for name, n in after.items() if name not in PERMITTED and n > before[name]
        }
        assert set(gained) <= {verdict, "drop_policed"}
        assert what == "permitted" or gained[verdict] > 0
        assert drops(lab.verdicts("vm2")) == of_vm2
        assert attack.strangers() == []
        with pytest.raises(CaptureTimeoutError):
            attack.capture.wait(lambda f: f.hop == "vm2/eth0" and f.data in set(frames), timeout=0)


def drops(verdicts: dict[str, int]) -> dict[str, int]:
    return {name: n for name, n in verdicts.items() if name.startswith("drop_")}
