# SPDX-License-Identifier: Apache-2.0
"""A real libvirt with real QEMU guests, of which none boots anything; hook and watcher as they are packaged.

libvirtd runs in a mount namespace with folders of its own in the place of /etc/libvirt and the like, and in the
hypervisor's network namespace: of the machine's own libvirt nothing is touched.
"""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hvchannel_control.api import control_pb2

from tests.libvirt.hypervisor import PACKAGING, Hypervisor, domain, interface, until

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]
MAC, MAC3 = "52:54:00:00:00:02", "52:54:00:00:00:03"
EMULATOR = "/usr/bin/qemu-system-x86_64"
USB = "<controller type='usb' model='qemu-xhci'/>"
VM1 = domain(
    *("dev='hvc2'", "dev='hvc3' id='b'"),
    interfaces=(interface("hvc2", MAC),),
    own=f"<emulator>{EMULATOR}</emulator>{USB}",
)
# a network card that a guest need not agree to lose
CARD = interface("hvc3", MAC3).replace("model type='virtio'", "model type='usb-net'")

# a frame as hostd's kernel would send it, and what the tap is handed of it by a vSwitch on packet sockets
SEND_AND_LOOK = """
import socket, sys
from scapy.all import IP, UDP, Dot1Q, Ether
mac, lip = sys.argv[1:]
tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(3))
tap.bind(("hvc2", 0))
tap.settimeout(60)
tap.setsockopt(263, 8, 1)  # SOL_PACKET, PACKET_AUXDATA: the kernel takes the tag out of the frame
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
out.bind(("hostd0", 0))
out.send(bytes(Ether(src="02:68:76:00:00:01", dst=mac) / IP(src="169.254.1.1", dst=lip) / UDP(dport=9)))
while True:
    data, told, _, _ = tap.recvmsg(2000, 100)
    frame = Ether(data)
    if UDP in frame:
        break
vlan = frame[Dot1Q].vlan if Dot1Q in frame else int.from_bytes(told[0][2][16:18], sys.byteorder) & 0xFFF
print(frame.dst, "vlan", vlan, frame[IP].dst)
"""

_FOLDERS = {
    "etc": "/etc/libvirt",
    "lib": "/var/lib/libvirt",
    "log": "/var/log/libvirt",
    "cache": "/var/cache/libvirt",
}
_CONF = 'auth_unix_rw = "none"\nlog_outputs = "2:stderr"\n'
_QEMU_CONF = """\
user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
"""


class Libvirt:
    """libvirtd on a hypervisor, with the hook installed."""

    def __init__(self, hypervisor: Hypervisor, folder: Path) -> None:
        self.hypervisor = hypervisor
        self.uri = f"qemu+unix:///system?socket={folder}/run/libvirt-sock"
        self.stderr = folder / "libvirtd.log"
        self._folder = folder
        for name in (*_FOLDERS, "run"):
            (folder / name).mkdir()
        hooks = folder / "etc" / "hooks" / "qemu.d"
        hooks.mkdir(parents=True)
        shutil.copy(hypervisor.hook, hooks / "hvchannel")
        (folder / "etc" / "libvirtd.conf").write_text(_CONF)
        (folder / "etc" / "qemu.conf").write_text(_QEMU_CONF)
        self._daemon: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Returns once it answers."""
        binds = [
            f"mkdir -p {there} && mount --bind {self._folder}/{here} {there}"
            for here, there in _FOLDERS.items()
        ]
        # what it keeps in /run outlives the daemon, as it does on a machine
        binds += ["mkdir -p /run/libvirt", f"mount --bind {self._folder}/run /run/libvirt"]
        script = " && ".join(
            ["mount --make-rprivate /", *binds, "exec libvirtd -f /etc/libvirt/libvirtd.conf"]
        )
        with self.stderr.open("a") as log:
            self._daemon = self.hypervisor.inside(
                "unshare", "--mount", "sh", "-c", script, stdout=log, stderr=log
            )
        until(lambda: True if self.run("version").returncode == 0 else None, "libvirt answers")

    def stop(self) -> None:
        """The domains go on."""
        assert self._daemon is not None
        self._daemon.terminate()
        self._daemon.wait()

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        command = ["virsh", "--quiet", "--connect", self.uri, *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    def virsh(self, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode == 0, f"{done.stderr}\n{self.stderr.read_text()[-2000:]}"
        return done.stdout

    def file(self, name: str, text: str) -> str:
        (self._folder / name).write_text(text)
        return str(self._folder / name)


@pytest.fixture(scope="module")
def _libvirt(_running: Hypervisor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Libvirt]:
    missing = [name for name in ("libvirtd", "virsh", "qemu-system-x86_64") if shutil.which(name) is None]
    if missing:
        pytest.skip(
            f"no {', '.join(missing)} on PATH (apt-get install libvirt-daemon-system libvirt-clients "
            "qemu-system-x86)"
        )
    libvirt = Libvirt(_running, tmp_path_factory.mktemp("libvirt"))
    with ExitStack() as stack:
        stack.callback(libvirt.stop)
        libvirt.start()
        yield libvirt


@pytest.fixture
def libvirt(_libvirt: Libvirt, hypervisor: Hypervisor) -> Iterator[Libvirt]:
    """With the domain vm1 defined, which has a VIF, and one for a card that is not plugged in."""
    _libvirt.virsh("define", _libvirt.file("vm1.xml", VM1))
    yield _libvirt
    _libvirt.run("destroy", "vm1")
    _libvirt.virsh("undefine", "vm1")


def test_a_domain_starts_and_is_destroyed(libvirt: Libvirt, hypervisor: Hypervisor) -> None:
    libvirt.virsh("start", "vm1")
    vif = hypervisor.until_realised("vm1")
    assert (vif.mac, vif.port, vif.link.state) == (MAC, 2, control_pb2.Link.UP)
    assert hypervisor.setting("ipv4/conf/hvc2/arp_ignore") == "8"
    assert "inet6" not in hypervisor.ip("address", "show", "hvc2")
    assert set(hypervisor.vifs()) == {"vm1"}
    libvirt.virsh("destroy", "vm1")
    assert hypervisor.vifs() == {}


def test_a_frame_for_the_vif_leaves_by_the_domains_tap(libvirt: Libvirt, hypervisor: Hypervisor) -> None:
    libvirt.virsh("start", "vm1")
    vif = hypervisor.until_realised("vm1")
    done = hypervisor.run_python(SEND_AND_LOOK, MAC, vif.lip)
    assert done.startswith(f"{MAC} vlan 4094 169.254.1.2"), done


def test_where_the_operator_chose_it_a_domain_without_its_vif_is_refused(
    libvirt: Libvirt, hypervisor: Hypervisor
) -> None:
    hypervisor.configure(HVCHANNEL_ON_FAILURE="refuse", HVCHANNEL_CONTROL="/nowhere")
    done = libvirt.run("start", "vm1")
    assert done.returncode == 1
    assert "hvchannel-libvirt: domain 'vm1': VIF 'vm1': no controller answers at /nowhere" in done.stderr
    hypervisor.configure(HVCHANNEL_CONTROL="/nowhere")
    libvirt.virsh("start", "vm1")


def test_libvirt_is_restarted_and_the_domain_goes_on(libvirt: Libvirt, hypervisor: Hypervisor) -> None:
    hypervisor.configure(HVCHANNEL_ON_FAILURE="refuse")
    libvirt.virsh("start", "vm1")
    libvirt.stop()
    hypervisor.detach("vm1")
    libvirt.start()
    until(lambda: hypervisor.vifs().get("vm1"), "what a restart of libvirt makes up for")
    # nothing that goes wrong then may end the domain
    libvirt.stop()
    calls = hypervisor.folder / "calls"
    program = hypervisor.folder / "hvchannel-libvirt"
    program.write_text(f'#!/bin/sh\necho "$3" >>{calls}\nexit 1\n')
    program.chmod(0o755)
    hypervisor.configure(HVCHANNEL_ON_FAILURE="refuse", HVCHANNEL_BIN=str(hypervisor.folder))
    libvirt.start()
    until(lambda: True if calls.exists() else None, "libvirt calls the hook when it has restarted")
    assert calls.read_text() == "reconnect\n"
    assert libvirt.virsh("domstate", "vm1").strip() == "running"  # answered once the hook's call is over


def test_what_is_plugged_while_a_domain_runs(libvirt: Libvirt, hypervisor: Hypervisor) -> None:
    libvirt.virsh("start", "vm1")
    hypervisor.start_watch("--connect", libvirt.uri)
    card = libvirt.file("card.xml", CARD)
    libvirt.virsh("attach-device", "vm1", card, "--live")
    assert hypervisor.until_realised("b").port == 3
    until(lambda: hypervisor.setting("ipv4/conf/hvc3/arp_ignore") == "8" or None, "the tap is set apart")
    libvirt.virsh("detach-device", "vm1", card, "--live")
    until(lambda: True if set(hypervisor.vifs()) == {"vm1"} else None, "the unplugged card's VIF is detached")


def test_a_domain_that_stopped_while_no_controller_answered(libvirt: Libvirt, hypervisor: Hypervisor) -> None:
    libvirt.virsh("start", "vm1")
    hypervisor.configure(HVCHANNEL_CONTROL="/nowhere")
    libvirt.virsh("destroy", "vm1")
    assert set(hypervisor.vifs()) == {"vm1"}
    hypervisor.start_watch("--connect", libvirt.uri)
    until(lambda: True if hypervisor.vifs() == {} else None, "what the domain left is detached")


def test_libvirts_own_schema_takes_the_packaged_example() -> None:
    if shutil.which("virt-xml-validate") is None or shutil.which("xmllint") is None:
        pytest.skip("no virt-xml-validate with xmllint (apt-get install libvirt-clients libxml2-utils)")
    command = ["virt-xml-validate", PACKAGING / "domain.xml", "domain"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
