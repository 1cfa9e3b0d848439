// SPDX-License-Identifier: Apache-2.0
// Plain forwarding by destination: another program than kinds.p4, with one table of the same name.
// Compiled by: p4c-bm2-ss --std p4-16 forward.p4 -o forward.json --p4runtime-files forward.p4info.txtpb
#include <core.p4>
#include <v1model.p4>

header ethernet_t {
    bit<48> dst;
    bit<48> src;
    bit<16> ether_type;
}

struct headers_t { ethernet_t ethernet; }
struct meta_t {}

parser start_parser(packet_in packet, out headers_t hdr, inout meta_t meta, inout standard_metadata_t std) {
    state start {
        packet.extract(hdr.ethernet);
        transition accept;
    }
}

control no_checksum(inout headers_t hdr, inout meta_t meta) { apply {} }

control ingress(inout headers_t hdr, inout meta_t meta, inout standard_metadata_t std) {
    action drop() { mark_to_drop(std); }
    action to_port(bit<9> port) { std.egress_spec = port; }
    table lpm_table {
        key = { hdr.ethernet.src: lpm @name("src"); }
        actions = { to_port; drop; }
        default_action = drop();
        size = 64;
    }
    apply { lpm_table.apply(); }
}

control egress(inout headers_t hdr, inout meta_t meta, inout standard_metadata_t std) { apply {} }

control deparser(packet_out packet, in headers_t hdr) {
    apply { packet.emit(hdr.ethernet); }
}

V1Switch(start_parser(), no_checksum(), ingress(), egress(), no_checksum(), deparser()) main;
