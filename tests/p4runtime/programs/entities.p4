// SPDX-License-Identifier: Apache-2.0
// What kinds.p4 leaves out: action profiles and selectors, idle timeouts, initial entries, registers, parser value
// sets, multicast and clones.
// Compiled by: p4c-bm2-ss --std p4-16 entities.p4 -o entities.json --p4runtime-files entities.p4info.txtpb
#include <core.p4>
#include <v1model.p4>

header ethernet_t {
    bit<48> dst;
    bit<48> src;
    bit<16> ether_type;
}

struct headers_t {
    ethernet_t ethernet;
}

struct meta_t {
    bit<32> seen;
    bit<1>  is_known;
}

struct link_t {
    @match(exact)   bit<16> ether_type;
    @match(ternary) bit<48> src;
}

parser start_parser(packet_in packet, out headers_t hdr, inout meta_t meta, inout standard_metadata_t std) {
    value_set<bit<16>>(2) types;
    value_set<link_t>(4) links;
    state start {
        packet.extract(hdr.ethernet);
        transition select(hdr.ethernet.ether_type) {
            types: known;
            default: more;
        }
    }
    state more {
        transition select(hdr.ethernet.ether_type, hdr.ethernet.src) {
            links: known;
            default: accept;
        }
    }
    state known {
        meta.is_known = 1;
        transition accept;
    }
}

control no_checksum(inout headers_t hdr, inout meta_t meta) { apply {} }

control ingress(inout headers_t hdr, inout meta_t meta, inout standard_metadata_t std) {
    register<bit<32>>(4) last_seen;
    register<bit<9>>(2) narrow;
    action_profile(4) routes;
    @max_group_size(3) action_selector(HashAlgorithm.crc16, 8, 16) ways;
    @selector_size_semantics("sum_of_members") @max_member_weight(4) @max_group_size(2)
    action_selector(HashAlgorithm.crc16, 8, 16) few;

    action drop() { mark_to_drop(std); }
    action to_port(bit<9> port) { std.egress_spec = port; }
    action rewrite(bit<48> dst, bit<9> port) { hdr.ethernet.dst = dst; std.egress_spec = port; }
    action flood(bit<16> group) { std.mcast_grp = group; }
    action mirror(bit<32> session, bit<9> port) {
        clone(CloneType.I2E, session);
        std.egress_spec = port;
    }

    table profile_table {
        key = { hdr.ethernet.dst: exact @name("dst"); }
        actions = { to_port; rewrite; NoAction; }
        implementation = routes;
        size = 16;
    }
    table selector_table {
        key = { hdr.ethernet.dst: exact @name("dst"); hdr.ethernet.src: selector; }
        actions = { to_port; rewrite; NoAction; }
        implementation = ways;
        size = 16;
    }
    table few_table {
        key = { hdr.ethernet.dst: exact @name("dst"); hdr.ethernet.src: selector; }
        actions = { to_port; rewrite; NoAction; }
        implementation = few;
        size = 16;
    }
    table idle_table {
        key = { hdr.ethernet.src: exact @name("src"); }
        actions = { to_port; flood; mirror; NoAction; }
        default_action = NoAction();
        support_timeout = true;
        size = 64;
    }
    table initial_table {
        key = { hdr.ethernet.ether_type: ternary @name("ether_type"); }
        actions = { to_port; drop; NoAction; }
        default_action = NoAction();
        entries = {
            const 0x0800: to_port(1);
            0x86dd &&& 0xffff: to_port(2);
            _: drop();
        }
        size = 16;
    }
    apply {
        last_seen.read(meta.seen, (bit<32>) (bit<2>) std.ingress_port);
        last_seen.write((bit<32>) (bit<2>) std.ingress_port, (bit<32>) hdr.ethernet.ether_type);
        if (meta.is_known == 1) {
            std.egress_spec = 4;
        } else if (!idle_table.apply().hit) {
            if (!profile_table.apply().hit) {
                if (!selector_table.apply().hit) {
                    if (!few_table.apply().hit) {
                        initial_table.apply();
                    }
                }
            }
        }
    }
}

control egress(inout headers_t hdr, inout meta_t meta, inout standard_metadata_t std) { apply {} }

control deparser(packet_out packet, in headers_t hdr) {
    apply { packet.emit(hdr.ethernet); }
}

V1Switch(start_parser(), no_checksum(), ingress(), egress(), no_checksum(), deparser()) main;
