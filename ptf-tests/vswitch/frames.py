# SPDX-License-Identifier: Apache-2.0
"""Frames as the two ends send them, and as they must come out on the other side. Scapy computes every checksum from
the bytes, so that the switch's incremental updates are held against a recomputation."""

from typing import NamedTuple

import ptf.testutils as tu
from ptf.packet import IP, UDP, Dot1Q, Ether, Packet

from vswitch.channel import CIP, HYPERVISOR_IP, HYPERVISOR_MAC, VIF, End, Program, Vif

BROADCAST = "ff:ff:ff:ff:ff:ff"
PAYLOAD = bytes(range(64))


class Journey(NamedTuple):
    """A frame, and what must become of it: `expected` out of `out_port`, and nothing anywhere else."""

    in_port: int
    sent: Packet
    out_port: int
    expected: Packet


def link(end: End, src: str, dst: str) -> Packet:
    """The Ethernet header, and the tag if frames bear one at this end."""
    header = Ether(src=src, dst=dst)
    return header if end.vlan is None else header / Dot1Q(vlan=end.vlan)


def datagram(l4: Packet | None = None) -> Packet:
    """Transport header and payload; UDP without another."""
    return (UDP(sport=40000, dport=40001) if l4 is None else l4) / PAYLOAD


def hypervisor_frame(
    program: Program,
    l4: Packet | None = None,
    *,
    src_mac: str = HYPERVISOR_MAC,
    dst_mac: str = VIF.mac,
    src: str = HYPERVISOR_IP,
    dst: str | None = None,
    **ip: object,
) -> Packet:
    """What the hypervisor's end sends to the guest, as it arrives at this vSwitch; the keywords make it wrong."""
    header = link(program.hypervisor, src_mac, dst_mac)
    return header / IP(src=src, dst=dst or program.vif_ip, **ip) / datagram(l4)


def guest_frame(
    program: Program,
    l4: Packet | None = None,
    *,
    src_mac: str = VIF.mac,
    dst_mac: str = HYPERVISOR_MAC,
    src: str = CIP,
    dst: str = HYPERVISOR_IP,
    **ip: object,
) -> Packet:
    """What the guest's end sends to the hypervisor, as it arrives at this vSwitch; the keywords make it wrong."""
    return link(program.guest, src_mac, dst_mac) / IP(src=src, dst=dst, **ip) / datagram(l4)


def to_guest(program: Program, l4: Packet | None = None, **ip: object) -> Journey:
    """From the hypervisor's end to the guest's."""
    came_out = (
        link(program.guest, HYPERVISOR_MAC, VIF.mac) / IP(src=HYPERVISOR_IP, dst=CIP, **ip) / datagram(l4)
    )
    return Journey(program.hypervisor.port, hypervisor_frame(program, l4, **ip), program.guest.port, came_out)


def to_hypervisor(program: Program, l4: Packet | None = None, **ip: object) -> Journey:
    """From the guest's end to the hypervisor's."""
    header = link(program.hypervisor, VIF.mac, HYPERVISOR_MAC)
    came_out = header / IP(src=program.vif_ip, dst=HYPERVISOR_IP, **ip) / datagram(l4)
    return Journey(program.guest.port, guest_frame(program, l4, **ip), program.hypervisor.port, came_out)


def arp_request(end: End, mac: str, ip: str, target: str, **fields: object) -> Packet:
    """Who has `target`? Asked by `mac`, `ip`. `fields` are tu.simple_arp_packet's."""
    fields = {"hw_snd": mac, **fields}
    return tu.simple_arp_packet(eth_src=mac, vlan_vid=end.vlan or 0, ip_snd=ip, ip_tgt=target, **fields)


def arp_answer(end: End, mac: str, ip: str, to: str, to_ip: str) -> Packet:
    """`ip` is at `mac`, told to `to`."""
    return tu.simple_arp_packet(
        eth_dst=to,
        eth_src=mac,
        vlan_vid=end.vlan or 0,
        arp_op=2,
        ip_snd=ip,
        ip_tgt=to_ip,
        hw_snd=mac,
        hw_tgt=to,
    )


def hypervisor_asks(program: Program, vif: Vif = VIF) -> Journey:
    """The hypervisor asks for the VIF's MAC, and is answered by the port it asked by."""
    end, target = program.hypervisor, program.vif_ip if vif is VIF else vif.lip
    asked = arp_request(end, HYPERVISOR_MAC, HYPERVISOR_IP, target)
    return Journey(end.port, asked, end.port, arp_answer(end, vif.mac, target, HYPERVISOR_MAC, HYPERVISOR_IP))


def guest_asks(program: Program) -> Journey:
    """The guest asks for the hypervisor's MAC, and is answered by the port it asked by."""
    end = program.guest
    asked = arp_request(end, VIF.mac, CIP, HYPERVISOR_IP)
    return Journey(end.port, asked, end.port, arp_answer(end, HYPERVISOR_MAC, HYPERVISOR_IP, VIF.mac, CIP))
