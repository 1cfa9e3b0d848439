# SPDX-License-Identifier: Apache-2.0
"""A VM that is a machine: its own kernel, its own disk, one virtio-net on a tap, and no other network."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hvchannel_lab import network
from hvchannel_lab.guest import PORT
from hvchannel_lab.parts import Vm
from hvchannel_lab.processes import program_of_window
from hvchannel_lab.qemu import qmp, tap
from hvchannel_lab.qemu.accel import accelerator, cpu
from hvchannel_lab.qemu.image import Image, image
from hvchannel_lab.qemu.packages import ImageError
from hvchannel_lab.qemu.relay import PORT_SOCKET
from hvchannel_lab.qemu.window import Window
from hvchannel_lab.supervisor import Program, Supervisor
from hvchannel_lab.topology import Topology

GUEST_STATE = Path("/state")
MONITOR = "qmp.sock"
_QEMU = "qemu-system-x86_64"
_MEMORY = 512  # MiB
_DISK = 256  # MiB, a sparse file
_POLL = 0.2  # seconds
_REBOOTED_WITHIN = 600.0  # seconds; without KVM a guest takes its time
# The vSwitches at either end forward frames as they are, in the kernel too: whole, with right checksums, one at a time.
_WHOLE_FRAMES = dict.fromkeys(
    (
        *("csum", "gso", "host_tso4", "host_tso6", "host_ecn", "host_ufo"),
        *("guest_csum", "guest_tso4", "guest_tso6", "guest_ecn", "guest_ufo", "guest_announce"),
    ),
    False,
)


class Machines:
    """What all QEMU VMs of a lab share."""

    def __init__(self, step: Callable[[str], None] = lambda text: None) -> None:
        """Finds or makes the image, and tries KVM. Blocks. Raises ImageError, OSError."""
        qemu = shutil.which(_QEMU)
        if qemu is None:
            raise ImageError(f"program {_QEMU!r}: not on PATH; apt-get install qemu-system-x86")
        self.qemu: str = qemu
        self.image: Image = image(step)
        self.accelerator, self.because = accelerator(qemu)


class QemuVm:
    """See VirtualMachine. It starts paused: its first instruction is executed when its programs are to run."""

    def __init__(
        self, spec: Vm, topology: Topology, supervisor: Supervisor, machines: Callable[[], Machines]
    ) -> None:
        self._spec = spec
        self._topology = topology
        self._supervisor = supervisor
        self._machines = machines
        self._folder = topology.folder(spec.name)

    @property
    def spec(self) -> Vm:
        return self._spec

    async def start(self) -> None:
        await asyncio.to_thread(_make_disk, self._topology, self._spec)
        hypervisor = self._topology.host(self._spec.home)
        monitor = self._folder / MONITOR
        await self._supervisor.start(
            [
                Program(
                    *(
                        self._spec.name,
                        "qemu",
                        hypervisor.namespace,
                        self._command(),
                        self._folder / "qemu.log",
                    ),
                    ready=monitor,
                )
            ]
        )

    async def plug(self, host: str | None = None) -> None:
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
        await qmp.execute(self._folder / MONITOR, "device_del", {"id": "nic0"}, event="DEVICE_DELETED")
        await self._monitor("netdev_del", id="vnic")
        await asyncio.to_thread(network.unplug, self._spec, self._topology)

    async def run(self) -> None:
        await self._monitor("cont")
        await self._supervisor.start([program_of_window(self._topology, self._spec, GUEST_STATE)])

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

    async def stop(self) -> None:
        mine = [f"{self._spec.name}/{name}" for name in ("window", "qemu")]
        await self._supervisor.stop([key for key in mine if key in self._supervisor.children])
        await asyncio.to_thread(network.unplug, self._spec, self._topology)

    async def freeze(self) -> None:
        """Not one instruction is executed in it until `resume`."""
        await self._monitor("stop")

    async def resume(self) -> None:
        """Goes on where it was frozen."""
        await self._monitor("cont")

    async def _monitor(self, command: str, **arguments: Any) -> Any:
        return await qmp.execute(self._folder / MONITOR, command, arguments)

    def _command(self) -> tuple[str, ...]:
        machines, folder = self._machines(), self._folder
        accel = "kvm" if machines.accelerator == "kvm" else "tcg,thread=multi"
        return (
            *(
                machines.qemu,
                "-name",
                self._spec.name,
                "-nodefaults",
                "-no-user-config",
                "-display",
                "none",
                "-S",
            ),
            *("-machine", "pc", "-accel", accel, "-cpu", cpu(machines.accelerator)),
            *("-smp", "1", "-m", str(_MEMORY), "-rtc", "base=utc", "-nic", "none"),
            *("-kernel", str(machines.image.kernel), "-initrd", str(machines.image.initramfs)),
            *("-append", "console=ttyS0 panic=1 quiet net.ifnames=0 ipv6.disable=1"),
            *("-serial", f"file:{folder}/console.log"),
            *(
                "-drive",
                f"file={machines.image.root},format=raw,if=none,id=root,readonly=on,file.locking=off",
            ),
            *("-device", "virtio-blk-pci,drive=root"),
            *(
                "-drive",
                f"file={machines.image.project},format=raw,if=none,id=project,readonly=on,file.locking=off",
            ),
            *("-device", "virtio-blk-pci,drive=project"),
            *("-drive", f"file={folder}/disk.img,format=raw,if=none,id=state,cache=writeback"),
            *("-device", "virtio-blk-pci,drive=state"),
            *("-device", "virtio-rng-pci"),
            *("-device", "virtio-serial-pci"),
            *("-chardev", f"socket,id=window,path={folder}/{PORT_SOCKET},server=on,wait=off"),
            *("-device", f"virtserialport,chardev=window,name={PORT}"),
            *("-qmp", f"unix:{folder}/{MONITOR},server=on,wait=off"),
        )


def _make_disk(topology: Topology, vm: Vm) -> None:
    """The VM's own disk, if it has none: what it must know of itself, and room for what it keeps. Raises OSError."""
    folder = topology.folder(vm.name)
    disk, seed = folder / "disk.img", folder / "seed"
    if disk.exists():
        return
    seed.mkdir(exist_ok=True)
    (seed / vm.name).mkdir(exist_ok=True)
    if topology.channel_tls:
        shutil.copytree(topology.tls_folder(vm.name), seed / vm.name / "tls", dirs_exist_ok=True)
    home = topology.host(vm.home).model_copy(update={"uplink": None})
    own = topology.model_copy(
        update={"state": GUEST_STATE, "hypervisors": (home,), "vms": (vm,), "control_plane": None}
    )
    (seed / "lab.json").write_text(own.model_dump_json(), encoding="utf-8")
    partial = folder / ".disk.img"
    command = ("mkfs.ext4", "-q", "-F", "-d", str(seed), str(partial), f"{_DISK}M")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{vm.name}'s disk: {done.stderr.strip()}")
    shutil.rmtree(seed)
    partial.rename(disk)
