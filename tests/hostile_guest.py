# SPDX-License-Identifier: Apache-2.0
"""A guest whose root sends what it likes on its VNIC, and where in a lab of two VMs that could do harm."""

import secrets
import socket

from hvchannel_lab.namespaces import inside
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Raw

TO_THE_HYPERVISOR = ("host/hostd0s", "host/hostd0")
TO_VM2 = ("host/vnic2", "vm2/eth0", "vm2/guestd0s", "vm2/guestd0")
PLACES = (*TO_THE_HYPERVISOR, *TO_VM2)
"""Where a frame of vm1 could do harm, on the ways to the hypervisor's stack and to vm2's."""

LEAVING = {"host/hostd0s", "host/vnic2", "vm2/guestd0s"}
"""Places that such a frame leaves by; at the others it arrives."""


def is_there(frame, mark: bytes) -> bool:
    """Whether the frame with the mark has come to its place, rather than an answer that quotes it gone from there."""
    return mark in frame.data and frame.outgoing is (frame.hop in LEAVING)


def await_mark(capture, hop: str, mark: bytes) -> None:
    capture.wait(lambda frame: frame.hop == hop and is_there(frame, mark), what=f"a permitted frame at {hop}")


class HostileGuest:
    """Raw frames on a VM's own end of its VNIC, around its guest vSwitch."""

    def __init__(self, lab, name: str) -> None:
        self.lab = lab
        self.vm = lab.topology.vm(name)
        self.vif = lab.vifs()[self.vm.vif]
        self.hypervisor_ip = str(lab.topology.hypervisor.address.ip)
        self.hypervisor_mac = lab.topology.hypervisor.mac
        with inside(self.vm.namespace):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self._socket.bind((self.vm.eth, 0))

    def close(self) -> None:
        self._socket.close()

    def send(self, frame) -> None:
        self._socket.send(bytes(frame))

    def ether(self, dst: str | None = None, src: str | None = None):
        return Ether(src=src or self.vm.mac, dst=dst or self.hypervisor_mac)

    def tagged(self, dst: str | None = None, src: str | None = None, vlan: int | None = None):
        return self.ether(dst, src) / Dot1Q(vlan=self.vif.vlan if vlan is None else vlan)

    def ip(self, dst: str | None = None, src: str | None = None, **fields):
        return IP(src=src or self.vif.cip, dst=dst or self.hypervisor_ip, **fields)

    def settle(self, capture) -> None:
        """A permitted frame, awaited at the hypervisor's vSwitch and behind it: the vSwitch has decided all that was
        sent before it, and its trace, if that is what is captured, has told of it."""
        mark = secrets.token_bytes(16)
        self.send(self.tagged() / self.ip() / UDP(sport=9, dport=40009) / Raw(mark))
        for hop in TO_THE_HYPERVISOR:
            await_mark(capture, hop, mark)
