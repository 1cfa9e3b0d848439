// SPDX-License-Identifier: Apache-2.0
// From the first byte to the transport header, the same in every architecture. What an architecture does with a header as
// it passes (a checksum engine's subtraction, a length) it puts into PARSER_UNITS and PARSED_...; FRAME_STARTS says whether a
// PacketOut's header is looked for here, or was before (a parser in hardware selects by what it has read).
#ifndef PARSER_P4
#define PARSER_P4

parser FrameParser(packet_in packet, out headers_t hdr, inout metadata_t meta) {
    PARSER_UNITS

    state start {
        transition FRAME_STARTS(meta)
    }

    state parse_packet_out {
        packet.extract(hdr.packet_out);
        transition parse_ethernet;
    }

    state parse_ethernet {
        packet.extract(hdr.ethernet);
        PARSED_ETHERNET(hdr, meta)
        transition select(hdr.ethernet.ether_type) {
            ETHER_TYPE_VLAN: parse_vlan;
            ETHER_TYPE_ARP:  parse_arp;
            ETHER_TYPE_IPV4: parse_ipv4;
            default:         accept;
        }
    }

    state parse_vlan {
        packet.extract(hdr.vlan);
        meta.tagged = 1;
        meta.vlan_id = hdr.vlan.vlan_id;
        transition select(hdr.vlan.ether_type) {
            ETHER_TYPE_ARP:  parse_arp;
            ETHER_TYPE_IPV4: parse_ipv4;
            default:         accept;
        }
    }

    state parse_arp {
        packet.extract(hdr.arp);
        meta.src_ip = hdr.arp.sender_ip;
        PARSED_ARP(hdr, meta)
        transition accept;
    }

    state parse_ipv4 {
        packet.extract(hdr.ipv4);
        meta.src_ip = hdr.ipv4.src_addr;
        PARSED_IPV4(hdr, meta)
        // Only a whole datagram without options has its transport header where we look for it.
        transition select(hdr.ipv4.ihl, hdr.ipv4.more_fragments, hdr.ipv4.fragment_offset, hdr.ipv4.protocol) {
            (5, 0, 0, IP_PROTOCOL_TCP): parse_tcp;
            (5, 0, 0, IP_PROTOCOL_UDP): parse_udp;
            (5, 0, 0, IP_PROTOCOL_ICMP): parse_icmp;
            default:                    accept;
        }
    }

    state parse_tcp {
        packet.extract(hdr.tcp);
        meta.tcp_flags = hdr.tcp.flags;
        meta.dst_port = hdr.tcp.dst_port;
        PARSED_TCP(hdr, meta)
        transition accept;
    }

    state parse_udp {
        packet.extract(hdr.udp);
        meta.dst_port = hdr.udp.dst_port;
        PARSED_UDP(hdr, meta)
        transition accept;
    }

    // Of ICMP nothing changes on the way: it stays in the payload.
    state parse_icmp {
        meta.icmp_type = packet.lookahead<bit<8>>();
        transition accept;
    }
}

#endif
