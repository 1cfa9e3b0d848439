// SPDX-License-Identifier: Apache-2.0
// What the stages tell each other about a packet. An architecture's main fills in `in_port`, `from_controller` and
// `malformed`, and carries out `out_port` and `verdict`; no stage sees the architecture's own metadata. ARCH_METADATA is what
// the architecture's files tell each other, such as a checksum engine's residual.
#ifndef METADATA_P4
#define METADATA_P4

struct metadata_t {
    port_t       in_port;    // where it came in; a PacketOut comes in as if from the hypervisor's port
    bool         from_controller; // it is a PacketOut
    port_t       out_port;   // where it goes, once a stage has said so
    identifier_t identifier; // VNI in the host vSwitch, VLAN id in the guest vSwitch
    role_t       role;       // the end it comes from
    role_t       out_role;   // the end that out_port leads to
    bit<1>       tagged;     // it came with an 802.1Q tag,
    vlan_id_t    vlan_id;    // of this VLAN id
    ipv4_addr_t  src_ip;     // IPv4 source, or ARP sender
    bit<8>       tcp_flags;  // 0 where there is no TCP header
    bit<16>      dst_port;   // of TCP and UDP, 0 where there is neither
    bit<8>       icmp_type;  // 0 where there is no ICMP
    bool         malformed;  // the parser ran into the end of the frame
    color_t      color;      // the policer's
    punt_reason_t punt_reason; // why the controller gets it
    verdict_t    verdict;
    ARCH_METADATA
}

#endif
