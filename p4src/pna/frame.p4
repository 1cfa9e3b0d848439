// SPDX-License-Identifier: Apache-2.0
// PNA's parser and deparser, the same for both vSwitches.
#ifndef FRAME_P4
#define FRAME_P4

#include <fresh_metadata.p4>

parser SwitchParser(packet_in packet,
                    out headers_t hdr,
                    inout metadata_t meta,
                    in pna_main_parser_input_metadata_t istd) {
    FreshMetadata() fresh_metadata;
    FrameParser()   frame;

    state start {
        fresh_metadata.apply(meta);
        meta.from_controller = FROM_CONTROLLER(istd);
        frame.apply(packet, hdr, meta);
        transition accept;
    }
}

control SwitchDeparser(packet_out packet,
                       DEPARSED headers_t hdr,
                       in metadata_t meta,
                       in pna_main_output_metadata_t ostd) {
    apply {
        packet.emit(hdr.packet_in);
        packet.emit(hdr.ethernet);
        packet.emit(hdr.vlan);
        packet.emit(hdr.arp);
        packet.emit(hdr.ipv4);
        packet.emit(hdr.tcp);
        packet.emit(hdr.udp);
    }
}

#endif
