# SPDX-License-Identifier: Apache-2.0
"""One packet through both programs, there and back, and every way in which either refuses one."""

import pytest
from hvchannel_softswitch.engine import ActionCall, EntryKey, Exact, MeterConfig
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Raw

HYPERVISOR_MAC, HYPERVISOR_IP = "02:68:76:00:00:01", "169.254.1.1"
VIF_MAC, LIP, CIP = "0a:00:00:00:00:01", "169.254.1.10", "169.254.1.2"
OTHER_MAC, OTHER_LIP = "0a:00:00:00:00:02", "169.254.1.11"
VNI, VLAN, CPU_PORT = 5001, 4094, 510


def to_guest(transport=None, dst_mac=VIF_MAC, dst=LIP):
    transport = transport or UDP(sport=1000, dport=2000)
    return (
        Ether(src=HYPERVISOR_MAC, dst=dst_mac) / IP(src=HYPERVISOR_IP, dst=dst) / transport / Raw(b"payload")
    )


def to_hypervisor(
    transport=None, src_mac=VIF_MAC, src=CIP, dst_mac=HYPERVISOR_MAC, dst=HYPERVISOR_IP, vlan=VLAN, **ip
):
    transport = transport or UDP(sport=2000, dport=40000)
    tagged = Ether(src=src_mac, dst=dst_mac) / Dot1Q(vlan=vlan)
    return tagged / IP(src=src, dst=dst, **ip) / transport / Raw(b"payload")


def rebuilt(frame) -> bytes:
    """The frame with every checksum computed anew."""
    again = Ether(bytes(frame))
    for layer in (IP, TCP, UDP, ICMP):
        if layer in again:
            del again[layer].chksum
    return bytes(again)


@pytest.mark.parametrize("transport", [UDP(sport=1, dport=2), TCP(sport=1, dport=2, flags="S"), ICMP()])
def test_there(host, guest, transport):
    [(port, on_vnic)] = host.send(1, to_guest(transport))
    assert port == 2
    assert on_vnic[Dot1Q].vlan == VLAN
    assert (on_vnic.src, on_vnic.dst) == (HYPERVISOR_MAC, VIF_MAC)
    assert (on_vnic[IP].src, on_vnic[IP].dst) == (HYPERVISOR_IP, CIP)
    assert bytes(on_vnic) == rebuilt(on_vnic)

    [(port, received)] = guest.send(2, on_vnic)
    assert port == 1
    assert Dot1Q not in received
    assert bytes(received) == rebuilt(to_guest(transport, dst=CIP))
    assert host.verdicts() == guest.verdicts() == {"forwarded": 1}


@pytest.mark.parametrize(
    "transport", [UDP(sport=1, dport=40000), TCP(sport=1, dport=40000, flags="SA"), ICMP(type=0)]
)
def test_back(host, guest, transport):
    sent = (
        Ether(src=VIF_MAC, dst=HYPERVISOR_MAC) / IP(src=CIP, dst=HYPERVISOR_IP) / transport / Raw(b"payload")
    )
    [(port, on_vnic)] = guest.send(1, sent)
    assert port == 2
    assert bytes(on_vnic) == bytes(to_hypervisor(transport))

    [(port, received)] = host.send(2, on_vnic)
    assert port == 1
    assert Dot1Q not in received
    assert (received[IP].src, received[IP].dst) == (LIP, HYPERVISOR_IP)
    assert bytes(received) == rebuilt(received)


def test_an_entry_gone_is_a_packet_dropped(host):
    """Each table of the journey is needed: without its entry the packet goes nowhere, and the verdict says why."""
    for table, key, action, args, verdict in [
        ("attachment", (1, 0, 0), "attach_hypervisor", (VNI,), "drop_unattached"),
        ("source_guard", (1, VNI, 0x026876000001, 0xA9FE0101), "permit_source", (), "drop_spoofed"),
        ("forward", (VNI, 0x0A0000000001, 0xA9FE010A), "to_port", (2,), "drop_no_route"),
        ("member", (2, VNI), "member_guest", (), "drop_not_member"),
        ("tag", (2, VNI), "push_vlan", (VLAN,), "drop_untaggable"),
        ("translate", (2, VNI, 0xA9FE010A), "to_cip", (0xA9FE0102,), "drop_untranslated"),
    ]:
        host.delete(table, *key)
        before = host.verdicts().get(verdict, 0)
        assert host.send(1, to_guest()) == []
        assert host.verdicts().get(verdict, 0) == before + 1, table
        host.insert(table, key, action, *args)
        assert len(host.send(1, to_guest())) == 1


def test_a_packet_that_cannot_be_tagged_counts_as_that_even_if_it_could_not_be_translated_either(host):
    host.delete("tag", 2, VNI)
    host.delete("translate", 2, VNI, 0xA9FE010A)
    assert host.send(1, to_guest()) == []
    assert host.verdicts() == {"forwarded": 1, "drop_untaggable": 1}


REFUSED = {
    "another VIF's MAC as source": (to_hypervisor(src_mac=OTHER_MAC), "drop_spoofed"),
    "another VIF's LIP as source": (to_hypervisor(src=OTHER_LIP), "drop_spoofed"),
    "the hypervisor's IP as source": (to_hypervisor(src=HYPERVISOR_IP), "drop_spoofed"),
    "another VLAN": (to_hypervisor(vlan=7), "drop_unattached"),
    "VLAN 0, a priority tag": (to_hypervisor(vlan=0), "drop_unattached"),
    "no tag": (
        Ether(src=VIF_MAC, dst=HYPERVISOR_MAC) / IP(src=CIP, dst=HYPERVISOR_IP) / UDP() / Raw(b"x"),
        "drop_unattached",
    ),
    "a tag in the tag": (
        Ether(src=VIF_MAC, dst=HYPERVISOR_MAC) / Dot1Q(vlan=VLAN) / Dot1Q(vlan=VLAN) / IP(src=CIP) / UDP(),
        "drop_ether_type",
    ),
    "IPv6": (Ether(src=VIF_MAC, dst=HYPERVISOR_MAC) / Dot1Q(vlan=VLAN) / IPv6() / UDP(), "drop_ether_type"),
    "another guest": (to_hypervisor(dst_mac=OTHER_MAC, dst=OTHER_LIP), "drop_guest_to_guest"),
    "itself": (to_hypervisor(dst_mac=VIF_MAC, dst=LIP), "drop_guest_to_guest"),
    "another guest by the CIP": (to_hypervisor(dst_mac=OTHER_MAC, dst=CIP), "drop_no_route"),
    "broadcast": (to_hypervisor(dst_mac="ff:ff:ff:ff:ff:ff"), "drop_no_route"),
    "SYN": (to_hypervisor(TCP(flags="S")), "drop_new_connection"),
    "SYN and FIN": (to_hypervisor(TCP(flags="SF")), "drop_new_connection"),
    "no flags": (to_hypervisor(TCP(dport=40000, flags="")), "drop_new_connection"),
    "FIN alone": (to_hypervisor(TCP(dport=40000, flags="F")), "drop_new_connection"),
    "FIN, PSH and URG": (to_hypervisor(TCP(dport=40000, flags="FPU")), "drop_new_connection"),
    "ACK to ssh": (to_hypervisor(TCP(dport=22, flags="A")), "drop_listener"),
    "UDP to a tunnel's end": (to_hypervisor(UDP(dport=4789)), "drop_listener"),
    "an ICMP error": (to_hypervisor(ICMP(type=3, code=4)), "drop_protocol"),
    "all flags but ACK": (to_hypervisor(TCP(flags="FSRPUEC")), "drop_new_connection"),
    "GRE": (to_hypervisor(Raw(b"x" * 20), proto=47), "drop_protocol"),
    "IPv4 options": (to_hypervisor(options=IPOption_NOP()), "drop_malformed"),
    "IHL below 5": (to_hypervisor(ihl=4), "drop_malformed"),
    "IPv5": (to_hypervisor(version=5), "drop_malformed"),
    "a first fragment": (to_hypervisor(flags="MF"), "drop_malformed"),
    "a later fragment": (to_hypervisor(frag=1), "drop_malformed"),
    "an ARP answer": (
        Ether(src=VIF_MAC, dst=HYPERVISOR_MAC)
        / Dot1Q(vlan=VLAN)
        / ARP(op=2, hwsrc=VIF_MAC, psrc=CIP, pdst=HYPERVISOR_IP),
        "drop_malformed",
    ),
    "ARP with another sender inside": (
        Ether(src=VIF_MAC, dst="ff:ff:ff:ff:ff:ff")
        / Dot1Q(vlan=VLAN)
        / ARP(op=1, hwsrc=OTHER_MAC, psrc=CIP, pdst=HYPERVISOR_IP),
        "drop_spoofed",
    ),
    "ARP for another guest": (
        Ether(src=VIF_MAC, dst="ff:ff:ff:ff:ff:ff")
        / Dot1Q(vlan=VLAN)
        / ARP(op=1, hwsrc=VIF_MAC, psrc=CIP, pdst=OTHER_LIP),
        "drop_arp_unknown",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_guest_is_refused(host, what):
    frame, verdict = REFUSED[what]
    assert host.send(2, frame) == []
    assert host.verdicts() == {verdict: 1}


@pytest.mark.parametrize("length", [0, 1, 13, 14, 17, 18, 20, 37, 38, 41, 45])
def test_a_truncated_frame_is_dropped(host, length):
    assert host.send(2, bytes(to_hypervisor())[:length]) == []
    assert sum(host.verdicts().values()) == 1


def test_hypervisor_to_itself_is_a_hairpin(host):
    assert host.send(1, to_guest(dst_mac=HYPERVISOR_MAC, dst=HYPERVISOR_IP)) == []
    assert host.verdicts() == {"drop_hairpin": 1}


def test_arp_is_answered_by_the_port_it_came_in_by(host):
    question = Ether(src=HYPERVISOR_MAC, dst="ff:ff:ff:ff:ff:ff") / ARP(
        op=1, hwsrc=HYPERVISOR_MAC, psrc=HYPERVISOR_IP, pdst=LIP
    )
    [(port, answer)] = host.send(1, question)
    assert port == 1
    assert (answer.src, answer.dst) == (VIF_MAC, HYPERVISOR_MAC)
    assert (answer[ARP].op, answer[ARP].hwsrc, answer[ARP].psrc) == (2, VIF_MAC, LIP)
    assert (answer[ARP].hwdst, answer[ARP].pdst) == (HYPERVISOR_MAC, HYPERVISOR_IP)

    question = (
        Ether(src=VIF_MAC, dst="ff:ff:ff:ff:ff:ff")
        / Dot1Q(vlan=VLAN)
        / ARP(op=1, hwsrc=VIF_MAC, psrc=CIP, pdst=HYPERVISOR_IP)
    )
    [(port, answer)] = host.send(2, question)
    assert port == 2
    assert answer[Dot1Q].vlan == VLAN
    assert (answer[ARP].hwsrc, answer[ARP].psrc) == (HYPERVISOR_MAC, HYPERVISOR_IP)
    assert host.verdicts() == {"arp_answered": 2}


def test_a_spoof_is_reported_with_what_it_pretended(host):
    host.send(2, to_hypervisor(src_mac=OTHER_MAC))
    host.send(2, to_hypervisor(vlan=7))
    host.send(2, Ether(src=VIF_MAC, dst=HYPERVISOR_MAC) / IP(src=CIP))
    assert host.digests == [
        ("spoof_digest", (2, VNI, VLAN, 0x0A0000000002, 0xA9FE0102)),
        ("spoof_digest", (2, 0, 7, 0x0A0000000001, 0xA9FE0102)),
    ]


def test_a_packet_out_enters_as_from_the_hypervisors_port_with_its_vni_literally(host):
    [(port, on_vnic)] = host.send(CPU_PORT, VNI.to_bytes(3, "big") + bytes(to_guest()))
    assert port == 2
    assert (on_vnic[Dot1Q].vlan, on_vnic[IP].dst) == (VLAN, CIP)


def test_a_packet_out_with_another_vni_is_dropped_and_reported(host):
    assert host.send(CPU_PORT, (VNI + 1).to_bytes(3, "big") + bytes(to_guest())) == []
    assert host.verdicts() == {"drop_spoofed": 1}
    assert host.digests == [("spoof_digest", (1, VNI + 1, 0, 0x026876000001, 0xA9FE0101))]


def test_a_punted_packet_goes_to_the_controller_with_port_and_reason(host):
    key = EntryKey((Exact(VNI), Exact(0x026876000001), Exact(0xA9FE0101)))
    host.engine.modify("forward", key, ActionCall("punt", (5,)))
    [(port, packet_in)] = host.send(2, to_hypervisor())
    assert port == CPU_PORT
    assert int.from_bytes(packet_in[:2], "big") == (2 << 7) | 5
    inner = Ether(packet_in[2:])
    assert (inner.src, inner[IP].src, Dot1Q in inner) == (VIF_MAC, LIP, False)
    assert host.verdicts() == {"punted": 1}


def test_a_policed_guest_loses_what_is_over_its_rate_and_no_other_guest_does(host):
    frame = to_hypervisor()
    size = len(bytes(frame))
    key = EntryKey((Exact(2), Exact(1), Exact(VLAN)))
    host.engine.write_direct_meter("attachment", key, MeterConfig(size, 3 * size, size, 3 * size))
    passed = [len(host.send(2, frame)) for _ in range(5)]
    assert passed == [1, 1, 1, 0, 0]
    assert host.verdicts() == {"forwarded": 3, "drop_policed": 2}
    assert len(host.send(3, to_hypervisor(src_mac=OTHER_MAC))) == 1
    host.now += 1_000_000_000
    assert [len(host.send(2, frame)) for _ in range(2)] == [1, 0]


def test_direct_counters_count_frames_and_bytes(host):
    frame = to_guest()
    for _ in range(3):
        host.send(1, frame)
    data = host.engine.read_direct_counter(
        "forward", EntryKey((Exact(VNI), Exact(0x0A0000000001), Exact(0xA9FE010A)))
    )
    assert (data.packets, data.bytes) == (3, 3 * len(bytes(frame)))
