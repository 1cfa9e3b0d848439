// SPDX-License-Identifier: Apache-2.0
// Two stamps on a frame, from a table of ingress and from one of egress: a frame that was treated by two sets of entries
// would show it.
// Compiled by: p4c-bm2-ss --std p4-16 stamps.p4 -o stamps.json
#include <core.p4>
#include <v1model.p4>

header ethernet_t {
    bit<48> dst;
    bit<48> src;
    bit<16> ether_type;
}

header stamps_t {
    bit<32> number;
    bit<8>  first;
    bit<8>  second;
}

struct headers_t {
    ethernet_t ethernet;
    stamps_t   stamps;
}

struct metadata_t { }

parser StampsParser(packet_in packet, out headers_t hdr, inout metadata_t meta, inout standard_metadata_t std_meta) {
    state start {
        packet.extract(hdr.ethernet);
        packet.extract(hdr.stamps);
        transition accept;
    }
}

control NoChecksum(inout headers_t hdr, inout metadata_t meta) { apply { } }

control StampsIngress(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t std_meta) {
    action stamp(bit<8> value, bit<9> port) {
        hdr.stamps.first = value;
        std_meta.egress_spec = port;
    }
    action drop() { mark_to_drop(std_meta); }
    table first {
        key = { hdr.ethernet.ether_type : exact @name("ether_type"); }
        actions = { stamp; drop; }
        default_action = drop();
    }
    apply { first.apply(); }
}

control StampsEgress(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t std_meta) {
    action stamp(bit<8> value) { hdr.stamps.second = value; }
    table second {
        key = { hdr.ethernet.ether_type : exact @name("ether_type"); }
        actions = { stamp; NoAction; }
        default_action = NoAction();
    }
    apply { second.apply(); }
}

control StampsDeparser(packet_out packet, in headers_t hdr) { apply { packet.emit(hdr); } }

V1Switch(StampsParser(), NoChecksum(), StampsIngress(), StampsEgress(), NoChecksum(), StampsDeparser()) main;
