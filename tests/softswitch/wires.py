# SPDX-License-Identifier: Apache-2.0
"""Real interfaces for tests: hosts in network namespaces of their own, each with a veth to a port of the switch's
namespace, which the test's thread is in."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

from hvchannel_softswitch.ports.af_packet import insert_vlan_tag
from hvchannel_softswitch.xdp.features import Features
from hvchannel_softswitch.xdp.peers import plain_socket

TYPE = b"\x88\xb5"
"""An EtherType for local experiments, by which `receive` knows our frames."""

HEADER = bytes.fromhex("ffffffffffff 020000000001") + TYPE

_CLONE_NEWNET = 0x40000000
_SO_RCVBUFFORCE = 33
_libc = ctypes.CDLL(None, use_errno=True)
_numbers = count()


def ip(command: str, namespace: str | None = None) -> str:
    """Runs `ip`, in a namespace or the thread's own."""
    where = ["-n", namespace] if namespace else []
    done = subprocess.run(["ip", *where, *command.split()], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {command}: {done.stderr}"
    return done.stdout


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Polls, with a deadline."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """The calling thread is in the namespace until the block ends."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    away = os.open(f"/run/netns/{namespace}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        assert _libc.setns(away, _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        yield
    finally:
        assert _libc.setns(home, _CLONE_NEWNET) == 0
        os.close(away)
        os.close(home)


@contextmanager
def new_namespace() -> Iterator[str]:
    name = f"t-xdp-{os.getpid()}-{next(_numbers)}"
    ip(f"netns add {name}")
    try:
        with inside(name):
            for scope in ("all", "default"):
                setting = Path(f"/proc/sys/net/ipv6/conf/{scope}/disable_ipv6")
                if setting.exists():
                    setting.write_text("1")
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False)


class Host:
    """A namespace with `eth0`, whose other end is interface `port` in the switch's."""

    def __init__(self, namespace: str, port: str, switch: str, cleanup: ExitStack) -> None:
        self.namespace, self.port, self._switch = namespace, port, switch
        self._cleanup = cleanup

    def plug(self, mtu: int = 1500, options: str = "") -> None:
        """Everything but the MTU is at the kernel's defaults."""
        ip(
            f"link add {self.port} mtu {mtu} {options} type veth peer name eth0 mtu {mtu} netns {self.namespace}",
            self._switch,
        )
        ip(f"link set {self.port} up", self._switch)
        ip("link set eth0 up", self.namespace)

    def unplug(self) -> None:
        ip(f"link del {self.port}", self._switch)

    def socket(self, kind: int = socket.SOCK_RAW) -> socket.socket:
        """A packet socket on eth0, or (SOCK_STREAM, SOCK_DGRAM) an IPv4 one."""
        with inside(self.namespace):
            made = packet_socket("eth0") if kind == socket.SOCK_RAW else socket.socket(socket.AF_INET, kind)
        made.settimeout(10)
        self._cleanup.callback(made.close)
        return made

    def features(self, interface: str = "eth0") -> dict[str, bool]:
        """Which are active."""
        with inside(self.namespace):
            return active_features(interface)


def packet_socket(interface: str) -> socket.socket:
    """Of what arrives, tags beside the frame included."""
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 32 << 20)
    made.setsockopt(263, 23, 1)  # SOL_PACKET, PACKET_IGNORE_OUTGOING
    made.setsockopt(263, 8, 1)  # PACKET_AUXDATA
    made.bind((interface, 3))
    made.settimeout(10)
    return made


def receive(sock: socket.socket) -> bytes:
    """The next of our frames, its tag in it if it came beside it."""
    while True:
        frame, ancillary, _, _ = sock.recvmsg(1 << 16, 128)
        for _, _, data in ancillary:
            status, _, _, _, _, tci, tpid = struct.unpack_from("=IIIHHHH", data)
            if status & 1 << 4:
                frame = insert_vlan_tag(frame, tci, tpid)
        if TYPE in frame[12:22]:
            return frame


def has_program(interface: str, namespace: str | None = None) -> bool:
    return "prog/xdp" in ip(f"link show {interface}", namespace)


def active_features(interface: str) -> dict[str, bool]:
    features = Features(plain_socket())
    found = {name: feature.active for name, feature in features.read(interface).items()}
    features.close()
    return found


class Wires:
    """The switch's namespace, which the thread is in, and the hosts."""

    def __init__(self, cleanup: ExitStack) -> None:
        self._cleanup = cleanup
        self.namespace = cleanup.enter_context(new_namespace())
        cleanup.enter_context(inside(self.namespace))

    def host(self, port: str, *, plugged: bool = True, mtu: int = 1500) -> Host:
        host = Host(self._cleanup.enter_context(new_namespace()), port, self.namespace, self._cleanup)
        if plugged:
            host.plug(mtu)
        return host

    def another_namespace(self) -> str:
        return self._cleanup.enter_context(new_namespace())


@contextmanager
def wires() -> Iterator[Wires]:
    with ExitStack() as cleanup:
        yield Wires(cleanup)
