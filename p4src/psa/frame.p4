// SPDX-License-Identifier: Apache-2.0
// PSA's parsers and deparsers, the same for both vSwitches.
#ifndef FRAME_P4
#define FRAME_P4

#include <fresh_metadata.p4>

struct nothing_t { }

parser SwitchIngressParser(packet_in packet,
                           out headers_t hdr,
                           inout metadata_t meta,
                           in psa_ingress_parser_input_metadata_t istd,
                           in nothing_t resubmitted,
                           in nothing_t recirculated) {
    FreshMetadata() fresh_metadata;
    FrameParser()   frame;

    state start {
        fresh_metadata.apply(meta);
        meta.in_port = (port_t)istd.ingress_port;
        meta.from_controller = (port_t)istd.ingress_port == CPU_PORT;
        frame.apply(packet, hdr, meta);
        transition accept;
    }
}

control SwitchIngressDeparser(packet_out packet,
                              out nothing_t cloned,
                              out nothing_t resubmitted,
                              out nothing_t normal,
                              inout headers_t hdr,
                              in metadata_t meta,
                              in psa_ingress_output_metadata_t ostd) {
    apply {
        packet.emit(hdr.bridge);
        packet.emit(hdr.packet_in);
        packet.emit(hdr.ethernet);
        packet.emit(hdr.vlan);
        packet.emit(hdr.arp);
        packet.emit(hdr.ipv4);
        packet.emit(hdr.tcp);
        packet.emit(hdr.udp);
    }
}

parser SwitchEgressParser(packet_in packet,
                          out headers_t hdr,
                          inout metadata_t meta,
                          in psa_egress_parser_input_metadata_t istd,
                          in nothing_t normal,
                          in nothing_t cloned_ingress,
                          in nothing_t cloned_egress) {
    FreshMetadata() fresh_metadata;
    BridgedParser() bridged;

    state start {
        fresh_metadata.apply(meta);
        meta.out_port = (port_t)istd.egress_port;
        bridged.apply(packet, hdr, meta);
        transition accept;
    }
}

control SwitchEgressDeparser(packet_out packet,
                             out nothing_t cloned,
                             out nothing_t recirculated,
                             inout headers_t hdr,
                             in metadata_t meta,
                             in psa_egress_output_metadata_t ostd,
                             in psa_egress_deparser_input_metadata_t edstd) {
    apply {
        packet.emit(hdr.ethernet);
        packet.emit(hdr.vlan);
        packet.emit(hdr.arp);
        packet.emit(hdr.ipv4);
        packet.emit(hdr.tcp);
        packet.emit(hdr.udp);
    }
}

#endif
