// SPDX-License-Identifier: Apache-2.0
// The parser of an egress that gets nothing from its ingress but the frame: the bridge first, then the frame anew.
#ifndef EGRESS_PARSER_P4
#define EGRESS_PARSER_P4

parser BridgedParser(packet_in packet, out headers_t hdr, inout metadata_t meta) {
    FrameParser() frame;

    state start {
        packet.extract(hdr.bridge);
        meta.verdict = hdr.bridge.verdict;
        meta.out_role = hdr.bridge.out_role;
        meta.identifier = (identifier_t)hdr.bridge.identifier;
        meta.from_controller = false;
        transition select(hdr.bridge.verdict) {
            verdict_t.PUNTED: accept;
            default:          parse_frame;
        }
    }

    state parse_frame {
        frame.apply(packet, hdr, meta);
        transition accept;
    }
}

// Lays the bridge, at the end of ingress.
control Bridge(inout headers_t hdr, in metadata_t meta) {
    apply {
        hdr.bridge.setValid();
        hdr.bridge.verdict = meta.verdict;
        hdr.bridge._pad = 0;
        hdr.bridge.out_role = meta.out_role;
        hdr.bridge.identifier = (bit<24>)meta.identifier;
    }
}

#endif
