# SPDX-License-Identifier: Apache-2.0
"""Each route carries what is sent over it, and leaves nothing behind."""

import os
import tempfile
from pathlib import Path

import pytest
from hvchannel_lab import namespaces
from hvchannel_lab.topology import plan

from bench.routes.route import Route, Unavailable
from bench.switch_path import ROUTES
from bench.traffic import packet_rate, round_trip
from bench.traffic.programs import TrafficError

pytestmark = pytest.mark.root


@pytest.mark.parametrize("key", ROUTES)
def test_a_route_carries_traffic_and_leaves_no_namespace_behind(key: str) -> None:
    # pytest's own directories are too long for the path of a unix socket.
    with tempfile.TemporaryDirectory(prefix="hvc-test-") as state:
        topology = plan(f"t-bench-{os.getpid()}", Path(state), 1)
        try:
            with ROUTES[key](topology) as route:
                trips, rate = round_trip.measure(route), packet_rate.measure(route)
        except Unavailable as reason:
            pytest.skip(str(reason))
    assert 0 < trips.p50 <= trips.p99
    assert 0 < rate.sent - rate.lost <= rate.sent
    assert not set(topology.namespaces) & set(namespaces.existing())


def test_a_program_that_cannot_start_is_an_error_that_names_it() -> None:
    with tempfile.TemporaryDirectory(prefix="hvc-test-") as state:
        topology = plan(f"t-bench-{os.getpid()}", Path(state), 1)
        with ROUTES["bare"](topology) as up:
            nowhere = Route(up.key, up.name, up.hypervisor, up.guest, up.dialled, "192.0.2.1")
            with pytest.raises(TrafficError, match=r"round_trip answer 192\.0\.2\.1 did not start"):
                round_trip.measure(nowhere)
