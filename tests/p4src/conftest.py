# SPDX-License-Identifier: Apache-2.0
"""The two programs, run frame by frame by the interpreter, with the entries of one hypervisor and two VIFs."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hvchannel_softswitch import model
from hvchannel_softswitch.engine import ActionCall, EntryKey, Exact
from hvchannel_softswitch.interpreter import Interpreter
from scapy.layers.l2 import Ether

COMPILED = Path(__file__).parents[2] / "p4src" / "compiled"
CPU_PORT = 510

HYPERVISOR_MAC, HYPERVISOR_IP = "02:68:76:00:00:01", "169.254.1.1"
CIP = "169.254.1.2"
VNI, VLAN = 5001, 4094


@dataclass(frozen=True)
class Vif:
    """One VIF of the program under test."""

    mac: str
    lip: str
    port: int


VIFS = (Vif("0a:00:00:00:00:01", "169.254.1.10", 2), Vif("0a:00:00:00:00:02", "169.254.1.11", 3))


def mac(text: str) -> int:
    return int(text.replace(":", ""), 16)


def ip(text: str) -> int:
    return int.from_bytes(bytes(int(part) for part in text.split(".")), "big")


@dataclass
class VSwitch:
    """An engine with what came out of it."""

    program: str
    outputs: list[tuple[int, bytes]] = field(default_factory=list)
    digests: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    now: int = 0  # ns

    def __post_init__(self):
        self.engine = Interpreter(
            model.load((COMPILED / f"{self.program}.json").read_text()),
            frames=lambda port, frame: self.outputs.append((port, bytes(frame))),
            digests=lambda name, values: self.digests.append((name, values)),
            drop_port=511,
            clock=lambda: self.now,
        )

    def insert(self, table: str, key: tuple[int, ...], action: str, *args: int) -> None:
        self.engine.insert(table, EntryKey(tuple(Exact(value) for value in key)), ActionCall(action, args))

    def delete(self, table: str, *key: int) -> None:
        self.engine.delete(table, EntryKey(tuple(Exact(value) for value in key)))

    def send(self, port: int, frame) -> list[tuple[int, Ether]]:
        """The frames that come out for this one."""
        self.outputs.clear()
        self.engine.process(port, bytes(frame))
        return [(out_port, Ether(out) if out_port != CPU_PORT else out) for out_port, out in self.outputs]

    def verdicts(self) -> dict[str, int]:
        """Packets by the name of the verdict's action, those without packets left out."""
        return {
            entry.action.name: packets
            for table in ("verdict", "egress_verdict")
            for entry in self.engine.entries(table)
            if (packets := self.engine.read_direct_counter(table, entry.key).packets)
        }


@pytest.fixture
def host() -> VSwitch:
    switch = VSwitch("host_vswitch")
    hypervisor, address = mac(HYPERVISOR_MAC), ip(HYPERVISOR_IP)
    switch.insert("attachment", (1, 0, 0), "attach_hypervisor", VNI)
    switch.insert("attachment", (CPU_PORT, 0, 0), "attach_controller", 1)
    switch.insert("source_guard", (1, VNI, hypervisor, address), "permit_source")
    switch.insert("arp", (VNI, address), "answer_guest", hypervisor)
    switch.insert("forward", (VNI, hypervisor, address), "to_port", 1)
    switch.insert("member", (1, VNI), "member_hypervisor")
    switch.insert("tag", (1, VNI), "leave_untagged")
    for vif in VIFS:
        switch.insert("attachment", (vif.port, 1, VLAN), "attach_guest", VNI)
        switch.insert("source_guard", (vif.port, VNI, mac(vif.mac), ip(CIP)), "permit_source")
        switch.insert("arp", (VNI, ip(vif.lip)), "answer_hypervisor", mac(vif.mac))
        switch.insert("restore", (vif.port, VNI, ip(CIP)), "to_lip", ip(vif.lip))
        switch.insert("forward", (VNI, mac(vif.mac), ip(vif.lip)), "to_port", vif.port)
        switch.insert("member", (vif.port, VNI), "member_guest")
        switch.insert("tag", (vif.port, VNI), "push_vlan", VLAN)
        switch.insert("translate", (vif.port, VNI, ip(vif.lip)), "to_cip", ip(CIP))
    return switch


@pytest.fixture
def guest() -> VSwitch:
    """The guest vSwitch of the first VIF: guestd on port 1, the VNIC on port 2."""
    switch = VSwitch("guest_vswitch")
    hypervisor, vif = mac(HYPERVISOR_MAC), mac(VIFS[0].mac)
    switch.insert("attachment", (1, 0, 0), "attach_guest", VLAN)
    switch.insert("attachment", (2, 1, VLAN), "attach_hypervisor", VLAN)
    switch.insert("source_guard", (1, VLAN, vif, ip(CIP)), "permit_source")
    switch.insert("source_guard", (2, VLAN, hypervisor, ip(HYPERVISOR_IP)), "permit_source")
    switch.insert("arp", (VLAN, ip(HYPERVISOR_IP)), "answer_guest", hypervisor)
    switch.insert("forward", (VLAN, vif, ip(CIP)), "to_port", 1)
    switch.insert("forward", (VLAN, hypervisor, ip(HYPERVISOR_IP)), "to_port", 2)
    switch.insert("member", (1, VLAN), "member_guest")
    switch.insert("member", (2, VLAN), "member_hypervisor")
    switch.insert("tag", (1, VLAN), "leave_untagged")
    switch.insert("tag", (2, VLAN), "push_vlan", VLAN)
    return switch
