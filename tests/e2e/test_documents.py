# SPDX-License-Identifier: Apache-2.0
"""Documents that a small frame cannot hold, and checksums as the receiving kernel judges them."""

import secrets
import socket
import subprocess

import pytest
from hvchannel_lab.namespaces import command_in, inside
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Raw

pytestmark = [pytest.mark.root, pytest.mark.e2e]

MIB = 1 << 20

ECHO = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], 7))
print("ready", flush=True)
while True:
    data, peer = s.recvfrom(65536)
    s.sendto(data[::-1], peer)
"""


def checksum_errors(lab, where: str, protocol: str) -> int:
    """The kernel's InCsumErrors of a namespace (RFC 1213's tables, as Linux extends them)."""
    text = lab.run_in(where, ["cat", "/proc/net/snmp"], check=True).stdout.decode()
    names, values = (line.split()[1:] for line in text.splitlines() if line.startswith(f"{protocol}:"))
    return int(dict(zip(names, values, strict=True))["InCsumErrors"])


def test_a_document_of_8_mib_arrives_whole(lab):
    content = secrets.token_bytes(8 * MIB)
    revision = lab.put("vm1", "large", content)
    lab.wait_acked("vm1", "large", revision, timeout=60)
    assert lab.read_in_guest("vm1", "large") == content
    for where in ("host", "vm1"):
        assert checksum_errors(lab, where, "Tcp") == 0


def test_udp_there_and_back_passes_the_receiving_kernels_checksum(lab):
    """The content is reversed on its way: neither checksum is the other's."""
    vif = lab.vifs()["vm1"]
    errors = {where: checksum_errors(lab, where, "Udp") for where in ("host", "vm1")}
    vm = lab.topology.vm("vm1")
    echo = subprocess.Popen(
        command_in(vm.namespace, ["python3", "-c", ECHO, vif.cip]), stdout=subprocess.PIPE
    )
    try:
        assert echo.stdout.readline() == b"ready\n"
        with inside(lab.topology.hypervisor.namespace):
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sender:
            sender.settimeout(10)
            for size in (0, 1, 2, 3, 255, 1000, 1472):
                content = secrets.token_bytes(size)
                sender.sendto(content, (vif.lip, 7))
                answer, (source, _) = sender.recvfrom(65536)
                assert (answer, source) == (content[::-1], vif.lip)
    finally:
        echo.kill()
        echo.communicate()
    for where in ("host", "vm1"):
        assert checksum_errors(lab, where, "Udp") == errors[where]


def test_the_kernel_does_judge_checksums(lab):
    """A checksum that was wrong when it came is wrong when it leaves: no switch repairs it, and the kernel sees it."""
    vm = lab.topology.vm("vm1")
    vif = lab.vifs()["vm1"]
    before = checksum_errors(lab, "host", "Udp")
    with inside(vm.namespace):
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    with raw:
        raw.bind((vm.eth, 0))
        # A socket must want it, or the kernel never looks at the checksum.
        with inside(lab.topology.hypervisor.namespace):
            listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with listener:
            listener.bind((str(lab.topology.hypervisor.address.ip), 0))
            frame = (
                Ether(src=vm.mac, dst=lab.topology.hypervisor.mac)
                / Dot1Q(vlan=vif.vlan)
                / IP(src=vif.cip, dst=str(lab.topology.hypervisor.address.ip))
                / UDP(sport=9, dport=listener.getsockname()[1], chksum=0x1234)
                / Raw(b"x")
            )
            raw.send(bytes(frame))
            lab.until(
                lambda: checksum_errors(lab, "host", "Udp") > before or None,
                "the kernel's count of bad checksums",
            )
