// SPDX-License-Identifier: Apache-2.0
// What the channel carries: Ethernet, at most one 802.1Q tag, then ARP or IPv4 with TCP or UDP.
#ifndef HEADERS_P4
#define HEADERS_P4

@controller_header("packet_in")
header packet_in_t {
    port_t        ingress_port;
    punt_reason_t reason;
}

header ethernet_t {
    mac_addr_t dst_addr;
    mac_addr_t src_addr;
    bit<16>    ether_type;
}

// IEEE 802.1Q. The tag's own EtherType (0x8100) stands in the Ethernet header before it.
header vlan_t {
    bit<3>    pcp;
    bit<1>    dei;
    vlan_id_t vlan_id;
    bit<16>   ether_type;
}

// RFC 826, for IPv4 over Ethernet.
header arp_t {
    bit<16>     hardware_type;
    bit<16>     protocol_type;
    bit<8>      hardware_length;
    bit<8>      protocol_length;
    bit<16>     operation;
    mac_addr_t  sender_mac;
    ipv4_addr_t sender_ip;
    mac_addr_t  target_mac;
    ipv4_addr_t target_ip;
}

// RFC 791, without options: a header that has some is dropped (stages/validate.p4).
header ipv4_t {
    bit<4>      version;
    bit<4>      ihl;
    bit<8>      diffserv;
    bit<16>     total_length;
    bit<16>     identification;
    bit<1>      reserved;
    bit<1>      dont_fragment;
    bit<1>      more_fragments;
    bit<13>     fragment_offset;
    bit<8>      ttl;
    bit<8>      protocol;
    bit<16>     checksum;
    ipv4_addr_t src_addr;
    ipv4_addr_t dst_addr;
}

// RFC 9293. Options travel in the payload.
header tcp_t {
    bit<16> src_port;
    bit<16> dst_port;
    bit<32> sequence;
    bit<32> acknowledgement;
    bit<4>  data_offset;
    bit<4>  reserved;
    bit<8>  flags;
    bit<16> window;
    bit<16> checksum;
    bit<16> urgent;
}

// RFC 768.
header udp_t {
    bit<16> src_port;
    bit<16> dst_port;
    bit<16> length;
    bit<16> checksum;
}

// From the ingress to the egress of an architecture that keeps no metadata between the two (it is in its ARCH_HEADERS).
header bridge_t {
    verdict_t verdict;
    bit<6>    _pad;
    role_t    out_role;
    bit<24>   identifier;
}

struct headers_t {
    ARCH_HEADERS
    packet_out_t packet_out;
    packet_in_t  packet_in;
    ethernet_t   ethernet;
    vlan_t       vlan;
    arp_t        arp;
    ipv4_t       ipv4;
    tcp_t        tcp;
    udp_t        udp;
}

#endif
