# SPDX-License-Identifier: Apache-2.0
"""A VM of the namespace kind, in a whole lab: its VNIC pulled and plugged, the VM rebooted."""

import asyncio
from collections.abc import Callable

import pytest
from hvchannel_lab import namespaces
from hvchannel_lab.handle import Handle
from hvchannel_lab.running_lab import RunningLab
from hvchannel_lab.topology import Topology

pytestmark = [pytest.mark.root, pytest.mark.e2e]


async def deliver(handle: Handle, key: str) -> None:
    revision = await asyncio.to_thread(handle.put, "vm1", key, key.encode())
    await asyncio.to_thread(handle.wait_acked, "vm1", key, revision, 60)


async def test_the_channel_comes_back_after_a_pulled_vnic_and_after_a_reboot(
    make_topology: Callable[..., Topology],
) -> None:
    topology = make_topology(vms=1)
    handle = Handle(topology)
    async with RunningLab(topology) as lab:
        (vm,) = lab.vms
        await deliver(handle, "first")

        await vm.unplug()
        await vm.plug()
        await deliver(handle, "after-a-pulled-vnic")

        before = handle.process("vm1/guestd")
        await vm.restart()
        assert not before.alive
        await deliver(handle, "after-a-reboot")
        assert await asyncio.to_thread(handle.read_in_guest, "vm1", "first") == b"first"

        await vm.stop()
        await vm.stop()  # stopped already: nothing to do
        assert vm.spec.namespace not in namespaces.existing()
        assert [key for key in handle.processes() if key.startswith("vm1/")] == []
    assert not set(topology.namespaces) & set(namespaces.existing())
