// SPDX-License-Identifier: Apache-2.0
// v1model's parser, deparser and (empty) checksum controls, the same for both vSwitches. The stages keep checksums
// right by themselves (stages/adjust_checksums.p4), so that no checksum engine is needed.
#ifndef FRAME_P4
#define FRAME_P4

parser SwitchParser(packet_in packet,
                    out headers_t hdr,
                    inout metadata_t meta,
                    inout standard_metadata_t std_meta) {
    FrameParser() frame;

    state start {
        meta.in_port = std_meta.ingress_port;
        meta.from_controller = std_meta.ingress_port == CPU_PORT;
        frame.apply(packet, hdr, meta);
        transition accept;
    }
}

control SwitchDeparser(packet_out packet, in headers_t hdr) {
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

control NoVerifyChecksum(inout headers_t hdr, inout metadata_t meta) {
    apply { }
}

control NoComputeChecksum(inout headers_t hdr, inout metadata_t meta) {
    apply { }
}

#endif
