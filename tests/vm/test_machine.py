# SPDX-License-Identifier: Apache-2.0
"""The channel into a real virtual machine: another kernel, virtio-net on a tap, nothing else between host and guest.

One VM serves all of these, in the order in which they stand: what ends its life comes last. Where none can be had:
conftest.py.
"""

import asyncio
import os
import secrets

import pytest
from hvchannel_daemons.guestd.client import GuestClientError
from hvchannel_lab import journey
from hvchannel_lab.qemu.machine import Machine

pytestmark = [pytest.mark.root, pytest.mark.e2e, pytest.mark.timeout(1200)]

needs_time = pytest.mark.skipif(
    "HVCHANNEL_VM_TESTS" not in os.environ, reason="takes minutes without KVM: make test-vm runs it"
)
SLOW = 300.0  # seconds: no guest is quick without KVM


def deliver(lab, key: str, content: bytes) -> None:
    """Put, acknowledged, and the same in the guest."""
    revision = lab.put("vm1", key, content)
    assert lab.wait_acked("vm1", key, revision, SLOW).acknowledged == revision
    assert read(lab, key) == content


def read(lab, key: str) -> bytes:
    """As guestd gives it. A guest without KVM that is busy with a document may be too slow for one attempt."""

    def attempt() -> bytes | None:
        try:
            return lab.read_in_guest("vm1", key)
        except GuestClientError:
            return None

    return lab.until(attempt, f"{key} read in the guest", SLOW)


def machine(lab) -> Machine:
    return Machine(lab.topology.vm("vm1"), lab.topology)


def test_a_document_arrives_in_another_kernel_and_every_claim_element_is_shown(machine_lab):
    [shown] = journey.observe(machine_lab)
    assert [element.number for element in shown.there] == [str(number) for number in range(1, 11)]
    assert [element.number for element in shown.back] == [f"R{number}" for number in range(1, 7)]
    assert os.uname().release not in shown.machine["kernel"]
    assert "Standard PC" in shown.machine["machine"]


@needs_time
def test_the_guest_has_no_other_network(machine_lab):
    assert machine_lab.machine("vm1")["interfaces"] == ["eth0", "guestd0", "guestd0s", "lo"]
    routes = machine_lab.run_in("vm1", ["ip", "-4", "route"]).stdout.decode().split("\n")
    assert [route.split()[0] for route in routes if route] == ["169.254.1.1"]


@needs_time
def test_it_runs_in_the_kernel_on_virtio_net_and_on_the_tap(machine_lab):
    """As the drivers of Debian 12 and of this kernel allow; the log says so."""
    assert machine_lab.machine("vm1")["xdp"] == ["eth0", "guestd0s"]
    for who, port in (("vm1", "eth0"), ("host", "vnic1")):
        log = (machine_lab.topology.folder(who) / "softswitch.log").read_text()
        assert any(port in line and "port_up" in line and "native" in line for line in log.splitlines())


@needs_time
def test_a_document_of_8_mib(machine_lab):
    deliver(machine_lab, "large", secrets.token_bytes(8 << 20))


@needs_time
def test_a_frame_past_the_guests_vswitch_with_another_source_is_dropped(machine_lab):
    vm = machine_lab.topology.vm("vm1")
    before = machine_lab.verdicts("host")["drop_spoofed"]
    header = bytes.fromhex("026876000001" + vm.mac.replace(":", "") + "81000ffe" + "0800")
    ip = bytes.fromhex("4500001c000100004011" + "0000" + "a9fe0909" + "a9fe0101") + bytes.fromhex(
        "1000100000080000"
    )
    machine_lab.send("vm1/eth0", header + ip)
    machine_lab.wait_verdict("host", "drop_spoofed", before, SLOW)


@needs_time
def test_frozen_and_resumed(machine_lab):
    vm = machine(machine_lab)
    asyncio.run(vm.freeze())
    revision = machine_lab.put("vm1", "frozen", b"while it stood still")
    assert not machine_lab.delivery("vm1", "frozen").settled
    asyncio.run(vm.resume())
    machine_lab.wait_acked("vm1", "frozen", revision, SLOW)
    assert read(machine_lab, "frozen") == b"while it stood still"


@needs_time
def test_vnic_unplugged_and_plugged(machine_lab):
    vm = machine(machine_lab)
    asyncio.run(vm.unplug())
    assert "eth0" not in machine_lab.machine("vm1")["interfaces"]
    revision = machine_lab.put("vm1", "unplugged", b"while it had no link")
    asyncio.run(vm.plug())
    machine_lab.wait_acked("vm1", "unplugged", revision, SLOW)


@needs_time
def test_a_reset_loses_nothing_that_was_acknowledged(machine_lab):
    deliver(machine_lab, "before", b"acknowledged before the reset")
    asyncio.run(machine(machine_lab).restart())
    deliver(machine_lab, "after", b"after it")
    assert read(machine_lab, "before") == b"acknowledged before the reset"
