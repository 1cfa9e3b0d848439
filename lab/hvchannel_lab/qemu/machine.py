# SPDX-License-Identifier: Apache-2.0
"""A QEMU VM that runs, as any process can reach it by the lab's directory: its VNIC, its reset button, its clock."""

from __future__ import annotations

import asyncio
from typing import Any

from hvchannel_lab import network
from hvchannel_lab.parts import Vm
from hvchannel_lab.qemu import qmp, tap
from hvchannel_lab.qemu.window import Window
from hvchannel_lab.topology import Topology

MONITOR = "qmp.sock"
_POLL = 0.2  # seconds
_REBOOTED_WITHIN = 300.0  # seconds; without KVM a guest takes its time
# The vSwitches at either end forward frames as they are, in the kernel too: whole, with right checksums, one at a time.
_WHOLE_FRAMES = dict.fromkeys(
    (
        *("csum", "gso", "host_tso4", "host_tso6", "host_ecn", "host_ufo"),
        *("guest_csum", "guest_tso4", "guest_tso6", "guest_ecn", "guest_ufo", "guest_announce"),
    ),
    False,
)


class Machine:
    """Methods raise OSError, which names it."""

    def __init__(self, spec: Vm, topology: Topology) -> None:
        self._spec = spec
        self._topology = topology
        self._folder = topology.folder(spec.name)

    @property
    def spec(self) -> Vm:
        """Its names, ports and MAC."""
        return self._spec

    async def plug(self, host: str | None = None) -> None:
        """Its VNIC in at a hypervisor, its home by default: a tap there, a virtio-net here."""
        namespace = self._topology.host(host or self._spec.home).namespace
        await asyncio.to_thread(tap.add, self._spec.vnic, namespace, self._topology.mtu)
        await self._monitor(
            "netdev_add",
            type="tap",
            id="vnic",
            ifname=self._spec.vnic,
            script="no",
            downscript="no",
            vhost=False,
        )
        await self._monitor(
            "device_add",
            **{
                "driver": "virtio-net-pci",
                "id": "nic0",
                "netdev": "vnic",
                "mac": self._spec.mac,
                "romfile": "",
            },
            **_WHOLE_FRAMES,
        )

    async def unplug(self) -> None:
        """Its VNIC out, once the guest has let go of it; the tap with it."""
        await qmp.execute(self._folder / MONITOR, "device_del", {"id": "nic0"}, event="DEVICE_DELETED")
        await self._monitor("netdev_del", id="vnic")
        await asyncio.to_thread(network.unplug, self._spec, self._topology)

    async def restart(self) -> None:
        """By the reset button: nothing in the guest is asked."""
        window = Window(self._folder)
        before = (await asyncio.to_thread(window.look))["uptime"]
        await self._monitor("system_reset")
        async with asyncio.timeout(_REBOOTED_WITHIN):
            while True:
                try:
                    if (await asyncio.to_thread(window.look))["uptime"] < before:
                        break
                except OSError:
                    pass
                before += _POLL
                await asyncio.sleep(_POLL)
            await asyncio.to_thread(window.wait_ready, _REBOOTED_WITHIN)

    async def freeze(self) -> None:
        """Not one instruction is executed in it until `resume`."""
        await self._monitor("stop")

    async def resume(self) -> None:
        """Goes on where it was frozen."""
        await self._monitor("cont")

    async def _monitor(self, command: str, **arguments: Any) -> Any:
        return await qmp.execute(self._folder / MONITOR, command, arguments)
