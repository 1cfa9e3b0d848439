// SPDX-License-Identifier: Apache-2.0
// Headers in all their shapes: a stack filled in a loop and shifted, lookahead, verify, a union, checksums, signed
// numbers; and the metadata that v1model gives.
#include <core.p4>
#include <v1model.p4>

error { BadVersion }

header base_t {
    bit<4>  version;
    bit<4>  labels;     // how many labels follow
    bit<8>  operation;
    int<8>  level;
    bit<8>  kind;       // of the union: 1 small, 2 large, else none
    bit<16> checksum;
}

header label_t { bit<7> value; bit<1> last; bit<8> hops; }
header small_t { bit<8> value; }
header large_t { bit<32> value; }

header_union body_t { small_t small; large_t large; }

header trailer_t { bit<16> size; bit<16> parser_error; bit<8> checksum_error; bit<8> next_byte; }

struct headers_t { base_t base; label_t[3] labels; body_t body; trailer_t trailer; }
struct meta_t { bit<8> next_byte; }

parser FrameParser(packet_in packet, out headers_t hdr, inout meta_t meta, inout standard_metadata_t std) {
    state start {
        packet.extract(hdr.base);
        verify(hdr.base.version == 4, error.BadVersion);
        transition select(hdr.base.labels) {
            0: body;
            default: label;
        }
    }
    state label {
        packet.extract(hdr.labels.next);
        transition select(hdr.labels.last.last) {
            1: body;
            default: label;
        }
    }
    state body {
        transition select(hdr.base.kind) {
            1: small;
            2: large;
            0x80 &&& 0x80: peek;
            default: accept;
        }
    }
    state small { packet.extract(hdr.body.small); transition accept; }
    state large { packet.extract(hdr.body.large); transition accept; }
    state peek { meta.next_byte = packet.lookahead<bit<8>>(); packet.advance(8); transition accept; }
}

control Verify(inout headers_t hdr, inout meta_t meta) {
    apply {
        verify_checksum(hdr.base.isValid(),
            { hdr.base.version, hdr.base.labels, hdr.base.operation, hdr.base.level, hdr.base.kind },
            hdr.base.checksum, HashAlgorithm.csum16);
    }
}

control ShapesIngress(inout headers_t hdr, inout meta_t meta, inout standard_metadata_t std) {
    apply {
        std.egress_spec = 1;
        if (hdr.base.operation == 1) {
            hdr.labels.push_front(1);
            hdr.labels[0].setValid();
            hdr.labels[0].value = 0x55;
            hdr.base.labels = hdr.base.labels + 1;
        } else if (hdr.base.operation == 2) {
            hdr.labels.pop_front(1);
        } else if (hdr.base.operation == 3) {
            hdr.base.level = hdr.base.level |-| 100;
        } else if (hdr.base.operation == 4) {
            hdr.base.level = -hdr.base.level;
        } else if (hdr.base.operation == 5) {
            hdr.body.small.setValid();
            hdr.body.small.value = 7;
        } else if (hdr.base.operation == 6) {
            hdr.labels[hdr.base.labels[1:0]].hops = 9;
        } else if (hdr.base.operation == 7) {
            hdr.labels[0] = hdr.labels[2];
        } else if (hdr.base.operation == 8) {
            if (hdr.base.level < 0) { hdr.base.kind = 0xff; }
        } else if (hdr.base.operation == 9) {
            mark_to_drop(std);
        } else if (hdr.base.operation == 10) {
            truncate(4);
        }
    }
}

control ShapesEgress(inout headers_t hdr, inout meta_t meta, inout standard_metadata_t std) {
    apply {
        if (hdr.base.operation == 11) {
            mark_to_drop(std);
        }
        hdr.trailer.setValid();
        hdr.trailer.size = (bit<16>) std.packet_length;
        if (std.parser_error == error.NoError) { hdr.trailer.parser_error = 0; }
        else if (std.parser_error == error.BadVersion) { hdr.trailer.parser_error = 1; }
        else if (std.parser_error == error.PacketTooShort) { hdr.trailer.parser_error = 2; }
        else if (std.parser_error == error.StackOutOfBounds) { hdr.trailer.parser_error = 3; }
        else { hdr.trailer.parser_error = 0xff; }
        hdr.trailer.checksum_error = (bit<8>) std.checksum_error;
        hdr.trailer.next_byte = meta.next_byte;
    }
}

control Update(inout headers_t hdr, inout meta_t meta) {
    apply {
        update_checksum(hdr.base.isValid(),
            { hdr.base.version, hdr.base.labels, hdr.base.operation, hdr.base.level, hdr.base.kind },
            hdr.base.checksum, HashAlgorithm.csum16);
    }
}

control FrameDeparser(packet_out packet, in headers_t hdr) {
    apply {
        packet.emit(hdr.base);
        packet.emit(hdr.labels);
        packet.emit(hdr.body);
        packet.emit(hdr.trailer);
    }
}

V1Switch(FrameParser(), Verify(), ShapesIngress(), ShapesEgress(), Update(), FrameDeparser()) main;
