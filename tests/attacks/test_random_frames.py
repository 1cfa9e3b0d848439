# SPDX-License-Identifier: Apache-2.0
"""Frames with something wrong about them that nobody thought of, from a seed that is printed and may be given again
(HVCHANNEL_ATTACKS_SEED): none comes where it should not."""

import os
import random
import sys

import pytest

from tests.attacks.campaign import Channel, campaign
from tests.attacks.conftest import Lab
from tests.traffic.frames import Choices, Talk, frame

pytestmark = [pytest.mark.root, pytest.mark.e2e, pytest.mark.timeout(1200)]
SHORT, LONG = 500, 30_000
AT_A_TIME = 250  # no port's buffer overflows


def test_random_frames_arrive_nowhere_but_where_they_may(
    attacked: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    given = os.environ.get("HVCHANNEL_ATTACKS_SEED")
    seed = int(given) if given else random.randrange(1 << 32) if attacked.is_long else 1
    with capsys.disabled():
        print(f"\nHVCHANNEL_ATTACKS_SEED={seed}", file=sys.stderr)
    draw = random.Random(seed)
    with campaign(attacked.handle) as attack:
        guest = attack.guest
        own, hypervisor = (guest.vm.mac, guest.vif.cip), attack.ends.hypervisor
        guests = list(attack.ends.guests.items())
        everybody = [
            own,
            hypervisor,
            *guests,
            (guests[1][0], guest.vif.cip),
            ("ff:ff:ff:ff:ff:ff", "224.0.0.1"),
        ]
        talk = Talk(2, guest.vif.vlan, own, hypervisor)
        for _ in range(0, LONG if attacked.is_long else SHORT, AT_A_TIME):
            with Channel(attacked.handle).in_use():
                attack.send(frame(Choices(draw.randbytes(72)), talk, everybody) for _ in range(AT_A_TIME))
        attack.at_the_neighbour()
        assert attack.strangers() == []
