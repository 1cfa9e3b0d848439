# SPDX-License-Identifier: Apache-2.0
"""A hypervisor without a lab: a network namespace, a vSwitch, its controller, and the hook, installed for them."""

import itertools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar
from uuid import NAMESPACE_URL, uuid5

from hvchannel_control.api import control_pb2
from hvchannel_control.client import ControlClient, ControlError

PROJECT = Path(__file__).parents[2]
PACKAGING = PROJECT / "packaging" / "libvirt"
BIN = Path(sys.executable).parent
PORTS = {2: "hvc2", 3: "hvc3"}
DEADLINE_S = 60.0

_T = TypeVar("_T")
_numbers = itertools.count(1)


def until(look: Callable[[], _T | None], what: str) -> _T:
    """What `look` finds, once it finds something."""
    deadline = time.monotonic() + DEADLINE_S
    while (found := look()) is None:
        assert time.monotonic() < deadline, f"not within {DEADLINE_S:g} s: {what}"
        time.sleep(0.05)
    return found


class Hypervisor:
    """Its folder has control.sock, libvirt.conf and the hook. Close it by the stack."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.namespace = f"lvh-{os.getpid()}-{next(_numbers)}"
        self.socket = folder / "control.sock"
        self.hook = folder / "hvchannel"
        self.controller: subprocess.Popen[str] | None = None
        self._watch: subprocess.Popen[str] | None = None
        self._stack = stack
        ip("netns", "add", self.namespace)
        stack.callback(ip, "netns", "del", self.namespace)
        self.ip("link", "set", "lo", "up")
        self.ip("link", "add", "hostd0", "type", "veth", "peer", "name", "hostd0s")
        for name in ("hostd0", "hostd0s"):
            self.ip("link", "set", name, "up")
        interfaces = ", ".join(f'{port} = "{name}"' for port, name in PORTS.items())
        (folder / "control.toml").write_text(f"[switch]\ninterfaces = {{ {interfaces} }}\n")
        self.configure()
        # as installed, but for where its settings are
        text = (PACKAGING / "hvchannel").read_text()
        assert "/etc/hvchannel/libvirt.conf" in text
        self.hook.write_text(text.replace("/etc/hvchannel/libvirt.conf", str(folder / "libvirt.conf")))
        self.hook.chmod(0o755)

    def configure(self, **settings: str) -> None:
        """libvirt.conf: the one that is packaged, with this hypervisor's paths and these settings."""
        own = {
            "HVCHANNEL_BIN": str(BIN),
            "HVCHANNEL_CONTROL": str(self.socket),
            "HVCHANNEL_LIBVIRT_STATE": str(self.folder / "libvirt"),
            "HVCHANNEL_WITHIN": "60",  # a busy machine takes its time
            **settings,
        }
        packaged = (PACKAGING / "libvirt.conf").read_text()
        assert all(f"\n{name}=" in packaged for name in own)
        lines = [f"{name}={value}" for name, value in own.items()]
        (self.folder / "libvirt.conf").write_text("\n".join([packaged, *lines, ""]))

    def start_watch(self, *options: str) -> None:
        """hvchannel-libvirt watch, until the hypervisor is reset."""
        with (self.folder / "watch.log").open("a") as log:
            own = ["--socket", self.socket, "--state", self.folder / "libvirt", "--within", "60"]
            command = [BIN / "hvchannel-libvirt", "watch", *own, *options]
            self._watch = self.inside(*command, stderr=log)

    def attach(self, vif_id: str, mac: str, port: int) -> None:
        """By hand."""
        with ControlClient(self.socket) as client:
            client.attach(vif_id, mac, port)

    def detach(self, vif_id: str) -> None:
        with ControlClient(self.socket) as client:
            client.detach(vif_id)

    def reset(self) -> None:
        """Nothing is attached, no tap is there, nothing watches, all settings are at their defaults."""
        if self._watch is not None:
            self._watch.terminate()
            self._watch.wait()
            self._watch = None
        shutil.rmtree(self.folder / "libvirt", ignore_errors=True)
        self.configure()
        if self.controller is not None:
            with ControlClient(self.socket) as client:
                for vif in client.vifs():
                    client.detach(vif.vif_id)
        for name in PORTS.values():
            subprocess.run(
                ["ip", "-n", self.namespace, "link", "del", name], capture_output=True, check=False
            )

    def ip(self, *words: str) -> str:
        return ip("-n", self.namespace, *words)

    def inside(self, *command: str | Path, **how: Any) -> "subprocess.Popen[str]":
        """A process in the namespace, ended with the hypervisor."""
        words = ["ip", "netns", "exec", self.namespace, *map(str, command)]
        process: subprocess.Popen[str] = subprocess.Popen(words, text=True, **how)
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process

    def start_switch(self) -> None:
        ports = [f"-i{port}@{name}" for port, name in {1: "hostd0s", **PORTS}.items()]
        own = ["--grpc-server-addr", f"unix:{self.folder}/p4rt.sock", "--cpu-port", "510"]
        command = [BIN / "softswitch", *ports, "--no-p4", "--device-id", "1", "--engine", "interpreter"]
        with (self.folder / "softswitch.log").open("w") as log:
            self.inside(*command, "--", *own, stderr=log)

    def start_controller(self) -> None:
        """Returns once it answers."""
        with (self.folder / "control.log").open("a") as log:
            self.controller = self.inside(
                BIN / "hvchannel-control", "host", "--config", self.folder / "control.toml", stderr=log
            )
        until(self._answers, "the controller answers")

    def call(
        self, operation: str, xml: str, name: str = "vm1", words: tuple[str, str] = ("begin", "-")
    ) -> "subprocess.CompletedProcess[str]":
        """The hook, as libvirt calls it; whatever it does, its stdout stays empty."""
        command = ["ip", "netns", "exec", self.namespace, self.hook, name, operation, *words]
        environment = {"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
        done = subprocess.run(
            command, input=xml, env=environment, capture_output=True, text=True, timeout=240, check=False
        )
        assert done.stdout == ""
        return done

    def vifs(self) -> dict[str, control_pb2.Vif]:
        with ControlClient(self.socket) as client:
            return {vif.vif_id: vif for vif in client.vifs()}

    def until_realised(self, vif_id: str) -> control_pb2.Vif:
        """The vSwitch holds it."""
        with ControlClient(self.socket) as client:
            vif = client.wait_realised(vif_id, DEADLINE_S)
        assert vif.state == control_pb2.Vif.REALISED, vif
        return vif

    def run_python(self, program: str, *words: str) -> str:
        """What it prints, in the namespace."""
        pipe = subprocess.PIPE
        process = self.inside(BIN / "python", "-c", program, *words, stdout=pipe, stderr=pipe)
        out, wrong = process.communicate(timeout=120)
        assert process.returncode == 0, wrong
        return str(out)

    def setting(self, name: str) -> str:
        """Of /proc/sys/net."""
        words = ["ip", "netns", "exec", self.namespace, "cat", f"/proc/sys/net/{name}"]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()

    def _answers(self) -> bool | None:
        try:
            self.vifs()
        except ControlError:
            return None
        return True


def ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
    return done.stdout


def interface(dev: str, mac: str) -> str:
    return f"<interface type='ethernet'><mac address='{mac}'/><target dev='{dev}'/><model type='virtio'/></interface>"


def domain(
    *vifs: str, name: str = "vm1", uuid: str | None = None, interfaces: tuple[str, ...] = (), own: str = ""
) -> str:
    """A domain's XML with these `<hvchannel:vif .../>`, given as their attributes. `own`: further devices."""
    elements = "".join(f"<hvchannel:vif {attributes}/>" for attributes in vifs)
    channel = f"<hvchannel:channel xmlns:hvchannel='urn:hvchannel:domain:1'>{elements}</hvchannel:channel>"
    uuid = uuid or str(uuid5(NAMESPACE_URL, name))
    return (
        f"<domain type='qemu'><name>{name}</name><uuid>{uuid}</uuid><memory unit='MiB'>64</memory><vcpu>1</vcpu>"
        f"<metadata>{channel}</metadata><os><type arch='x86_64' machine='pc'>hvm</type></os>"
        f"<features><acpi/></features><devices>{own}{''.join(interfaces)}</devices></domain>"
    )
