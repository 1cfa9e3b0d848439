// SPDX-License-Identifier: Apache-2.0
// Types and constants of both vSwitches. What differs between them, the identifier, is in first_identifier.p4 and
// second_identifier.p4; what differs between architectures (port_t, punt_reason_t, color_t) in each one's arch.p4.
#ifndef TYPES_P4
#define TYPES_P4

typedef bit<48> mac_addr_t;
typedef bit<32> ipv4_addr_t;
typedef bit<12> vlan_id_t;

const bit<16> ETHER_TYPE_IPV4 = 0x0800;
const bit<16> ETHER_TYPE_ARP  = 0x0806;
const bit<16> ETHER_TYPE_VLAN = 0x8100;

const bit<8> IP_PROTOCOL_ICMP = 1;
const bit<8> IP_PROTOCOL_TCP  = 6;
const bit<8> IP_PROTOCOL_UDP  = 17;

const bit<8> TCP_SYN     = 0x02;
const bit<8> TCP_SYN_ACK = 0x12;
const bit<8> TCP_RST_ACK = 0x14;

// Echo reply is type 0, echo request type 8 (RFC 792): what differs is one bit.
const bit<8> ICMP_ECHO      = 0x00;
const bit<8> ICMP_ECHO_MASK = 0xf7;

// Ports that nobody dials from: below 1024 with TCP, below 32768 with UDP, whose segments say less of themselves.
const bit<16> TCP_LISTENERS_MASK = 0xfc00;
const bit<16> UDP_LISTENERS_MASK = 0x8000;

const bit<16> ARP_REQUEST = 1;
const bit<16> ARP_REPLY   = 2;

// Which end of the channel a packet comes from, or a port leads to.
enum bit<2> role_t {
    NOBODY     = 0,
    HYPERVISOR = 1,
    GUEST      = 2
}

// What became of a packet. A stage decides only packets that are still UNDECIDED; the numbers are never reused.
enum bit<8> verdict_t {
    UNDECIDED      = 0,
    FORWARDED      = 1,
    ARP_ANSWERED   = 2,
    PUNTED         = 3,
    UNATTACHED     = 4,
    POLICED        = 5,
    MALFORMED      = 6,
    ETHER_TYPE     = 7,
    SPOOFED        = 8,
    ARP_UNKNOWN    = 9,
    NEW_CONNECTION = 10,
    PROTOCOL       = 11,
    UNRESTORED     = 12,
    NO_ROUTE       = 13,
    NOT_MEMBER     = 14,
    GUEST_TO_GUEST = 15,
    HAIRPIN        = 16,
    UNTAGGABLE     = 17,
    UNTRANSLATED   = 18,
    LISTENER       = 19
}

#endif
