# SPDX-License-Identifier: Apache-2.0
"""What a guest with root can send on its VNIC, and that none of it arrives anywhere it should not.

Where a vSwitch runs in the kernel no packet socket at its ports sees what it forwards. So what is looked at is what the
daemons' own interfaces get, what the vSwitches tell of their ports, and what they count: each of them would show it.
"""

import secrets
import socket
from contextlib import closing

import pytest
from hvchannel_lab.namespaces import inside
from hvchannel_lab.targets import Engine
from scapy.layers.inet import ICMP, TCP, UDP
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Raw

from tests.hostile_guest import PLACES, TO_THE_HYPERVISOR, TO_VM2, HostileGuest, await_mark, is_there

pytestmark = [pytest.mark.root, pytest.mark.e2e]
ENGINES = (Engine.AUTO, Engine.INTERPRETER)


@pytest.fixture
def guest(lab):
    with closing(HostileGuest(lab, "vm1")) as hostile:
        yield hostile


def send_and_see(lab, guest, frames, mark: bytes) -> set[str]:
    """The places where any frame that holds the mark has come to."""
    with lab.capture(*PLACES) as capture:
        for frame in frames:
            guest.send(frame)
        guest.settle(capture)
    return {frame.hop for frame in capture.frames() if is_there(frame, mark)}


def test_a_permitted_frame_does_arrive(lab, guest):
    """What makes the tests below able to fail."""
    mark = secrets.token_bytes(16)
    frame = guest.tagged() / guest.ip() / UDP(sport=9, dport=40009) / Raw(mark)
    assert send_and_see(lab, guest, [frame], mark) == set(TO_THE_HYPERVISOR)


def test_a_frame_for_vm2_does_show_on_every_place_of_its_way(lab):
    """And this, of the places at which they see nothing."""
    mark = secrets.token_bytes(16)
    with inside(lab.topology.hypervisor.namespace):
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sender, lab.capture(*PLACES) as capture:
        sender.sendto(mark, (lab.vifs()["vm2"].lip, 9))
        for hop in TO_VM2:
            await_mark(capture, hop, mark)


def test_vm1_cannot_reach_vm2_by_any_address(lab, guest):
    other = lab.topology.vm("vm2")
    other_vif = lab.vifs()[other.vif]
    mark = secrets.token_bytes(16)
    macs = [other.mac, guest.hypervisor_mac, "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "33:33:00:00:00:01"]
    addresses = [
        other_vif.lip,
        other_vif.cip,
        guest.vif.lip,
        guest.hypervisor_ip,
        "255.255.255.255",
        "169.254.255.255",
        "224.0.0.1",
        "10.0.0.1",
    ]
    frames = [
        guest.tagged(dst=mac) / guest.ip(dst=address) / transport / Raw(mark)
        for mac in macs
        for address in addresses
        for transport in (UDP(sport=9, dport=40009), ICMP())
        if (mac, address) != (guest.hypervisor_mac, guest.hypervisor_ip)
    ]
    before = lab.verdicts("host")
    assert send_and_see(lab, guest, frames, mark) == set()
    after = lab.verdicts("host")
    # vm2's LIP is a forwarding entry, so that one is stopped for being a guest's; the rest lead nowhere.
    assert after["drop_guest_to_guest"] - before["drop_guest_to_guest"] == 2
    assert after["drop_no_route"] - before["drop_no_route"] == len(frames) - 2


def test_a_guest_learns_no_other_guests_mac_by_arp(lab, guest):
    other_vif = lab.vifs()["vm2"]
    before = lab.verdicts("host")["drop_arp_unknown"]
    with lab.capture("host/vnic1", *PLACES) as capture:
        for address in (other_vif.lip, guest.vif.lip, guest.vif.cip):
            question = ARP(op=1, hwsrc=guest.vm.mac, psrc=guest.vif.cip, pdst=address)
            guest.send(guest.tagged(dst="ff:ff:ff:ff:ff:ff") / question)
        guest.settle(capture)
    answers = [frame for frame in capture.frames("host/vnic1", outgoing=True) if ARP in Ether(frame.data)]
    assert answers == []
    assert lab.verdicts("host")["drop_arp_unknown"] - before == 3


def test_arp_for_the_hypervisor_is_answered_by_the_switch_alone(lab, guest):
    with lab.capture("vm1/eth0", *PLACES) as capture:
        question = ARP(op=1, hwsrc=guest.vm.mac, psrc=guest.vif.cip, pdst=guest.hypervisor_ip)
        guest.send(guest.tagged(dst="ff:ff:ff:ff:ff:ff") / question)
        answer = capture.wait(
            lambda frame: frame.hop == "vm1/eth0" and not frame.outgoing and ARP in Ether(frame.data)
        )
        guest.settle(capture)
    packet = Ether(answer.data)
    assert (packet[Dot1Q].vlan, packet[ARP].op) == (guest.vif.vlan, 2)
    assert (packet[ARP].psrc, packet[ARP].hwsrc) == (guest.hypervisor_ip, guest.hypervisor_mac)
    assert [frame for frame in capture.frames() if frame.hop != "vm1/eth0" and ARP in Ether(frame.data)] == []


SPOOFS = {
    "mac": (
        lambda g: g.tagged(src="02:00:00:00:be:ef") / g.ip() / UDP(sport=9, dport=40009),
        "drop_spoofed",
    ),
    "other guest's mac": (
        lambda g: g.tagged(src=g.lab.topology.vm("vm2").mac) / g.ip() / UDP(sport=9, dport=40009),
        "drop_spoofed",
    ),
    "ip": (
        lambda g: g.tagged() / g.ip(src="169.254.77.77") / UDP(sport=9, dport=40009),
        "drop_spoofed",
    ),
    "other guest's lip": (
        lambda g: g.tagged() / g.ip(src=g.lab.vifs()["vm2"].lip) / UDP(sport=9, dport=40009),
        "drop_spoofed",
    ),
    "vlan": (
        lambda g: g.tagged(vlan=(g.vif.vlan % 4094) + 1) / g.ip() / UDP(sport=9, dport=40009),
        "drop_unattached",
    ),
    "priority tag": (
        lambda g: g.tagged(vlan=0) / g.ip() / UDP(sport=9, dport=40009),
        "drop_unattached",
    ),
}


@pytest.mark.parametrize("what", SPOOFS)
def test_a_spoofed_frame_is_dropped_counted_and_reported_by_digest(lab, guest, what):
    build, verdict = SPOOFS[what]
    mark = secrets.token_bytes(16)
    counted = lab.verdicts("host")[verdict]
    reported = lab.control_status("host").digests.get("spoof_digest", 0)
    assert send_and_see(lab, guest, [build(guest) / Raw(mark)], mark) == set()
    assert lab.verdicts("host")[verdict] == counted + 1
    lab.until(
        lambda: lab.control_status("host").digests.get("spoof_digest", 0) > reported or None,
        f"a digest of the spoofed {what}",
    )


def test_a_guest_cannot_name_a_vni_by_leaving_the_tag_out(lab, guest):
    """Untagged is how the hypervisor's own port speaks, which the switch gives the VNI by port: not by this one."""
    mark = secrets.token_bytes(16)
    before = lab.verdicts("host")["drop_unattached"]
    frame = guest.ether() / guest.ip() / UDP(sport=9, dport=40009) / Raw(mark)
    assert send_and_see(lab, guest, [frame], mark) == set()
    assert lab.verdicts("host")["drop_unattached"] == before + 1


def test_a_second_tag_inside_the_first_goes_nowhere(lab, guest):
    mark = secrets.token_bytes(16)
    before = lab.verdicts("host")["drop_ether_type"]
    frame = guest.tagged() / Dot1Q(vlan=guest.vif.vlan) / guest.ip() / UDP(sport=9, dport=40009) / Raw(mark)
    assert send_and_see(lab, guest, [frame], mark) == set()
    assert lab.verdicts("host")["drop_ether_type"] == before + 1


@pytest.mark.parametrize("flags", ["S", "SF", "SU", "SPUEC"])
def test_a_guests_syn_is_dropped_by_the_host_switch(lab, guest, flags):
    mark = secrets.token_bytes(16)
    before = lab.verdicts("host")["drop_new_connection"]
    frame = guest.tagged() / guest.ip() / TCP(sport=40000, dport=22, flags=flags) / Raw(mark)
    assert send_and_see(lab, guest, [frame], mark) == set()
    assert lab.verdicts("host")["drop_new_connection"] == before + 1


def test_a_guests_syn_is_dropped_by_the_guest_switch_already(lab):
    before = lab.verdicts("vm1")["drop_new_connection"]
    program = (
        "import socket; s = socket.socket(); s.settimeout(0.2)\n"
        f"try: s.connect(('{lab.topology.hypervisor.address.ip}', 22)); print('connected')\n"
        "except OSError as error: print(type(error).__name__)\n"
    )
    said = lab.run_in("vm1", ["python3", "-c", program], check=True).stdout.decode().strip()
    assert said == "TimeoutError"
    assert lab.verdicts("vm1")["drop_new_connection"] > before
