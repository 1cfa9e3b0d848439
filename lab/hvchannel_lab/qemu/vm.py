# SPDX-License-Identifier: Apache-2.0
"""A VM that is a machine: its own kernel, its own disk, one virtio-net on a tap, and no other network."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from hvchannel_lab import network
from hvchannel_lab.guest import PORT
from hvchannel_lab.parts import Vm
from hvchannel_lab.processes import program_of_window
from hvchannel_lab.qemu.accel import KERNEL_WORDS, accelerator, cpu
from hvchannel_lab.qemu.image import Image, cache, image
from hvchannel_lab.qemu.machine import MONITOR, Machine
from hvchannel_lab.qemu.needs import MEMORY, QEMU, lacking
from hvchannel_lab.qemu.packages import ImageError
from hvchannel_lab.qemu.relay import PORT_SOCKET
from hvchannel_lab.supervisor import Program, Supervisor
from hvchannel_lab.topology import Topology

GUEST_STATE = Path("/state")
_DISK = 256  # MiB, a sparse file


class Machines:
    """What all QEMU VMs of a lab share."""

    def __init__(self, vms: int, step: Callable[[str], None] = lambda text: None) -> None:
        """For so many VMs: finds or makes the image, and tries KVM. Blocks. Raises ImageError, OSError."""
        if reason := lacking(vms, cache()):
            raise ImageError(reason)
        self.qemu = str(shutil.which(QEMU))
        self.image: Image = image(step)
        self.accelerator, self.because = accelerator(self.qemu, self.image.kernel, self.image.initramfs)


class QemuVm(Machine):
    """See VirtualMachine. It starts paused: its first instruction is executed when its programs are to run."""

    def __init__(
        self, spec: Vm, topology: Topology, supervisor: Supervisor, machines: Callable[[], Machines]
    ) -> None:
        super().__init__(spec, topology)
        self._supervisor = supervisor
        self._machines = machines

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

    async def run(self) -> None:
        await self._monitor("cont")
        await self._supervisor.start([program_of_window(self._topology, self._spec, GUEST_STATE)])

    async def stop(self) -> None:
        mine = [f"{self._spec.name}/{name}" for name in ("window", "qemu")]
        await self._supervisor.stop([key for key in mine if key in self._supervisor.children])
        await asyncio.to_thread(network.unplug, self._spec, self._topology)

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
            *("-smp", "1", "-m", str(MEMORY), "-rtc", "base=utc", "-nic", "none"),
            *("-kernel", str(machines.image.kernel), "-initrd", str(machines.image.initramfs)),
            *("-append", f"{KERNEL_WORDS} panic=1 quiet net.ifnames=0 ipv6.disable=1"),
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
