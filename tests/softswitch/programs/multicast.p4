// SPDX-License-Identifier: Apache-2.0
// Frames that go to multicast groups, and egress that makes something else of each replica.
#include <core.p4>
#include <v1model.p4>

header ethernet_t {
    bit<48> dst;
    bit<48> src;
    bit<16> type;
}

header tag_t {
    bit<3> priority;
    bit<1> eligible;
    bit<12> vlan;
    bit<16> type;
}

header note_t {        // behind the tags of what egress notes
    bit<8> instance;   // instance_type
    bit<8> port;       // egress_port
    bit<16> rid;       // egress_rid
    bit<16> length;    // packet_length
    bit<8> mark;       // metadata of ingress
    bit<72> wide;
    bit<16> tags;      // found by the parser
    bit<32> number;    // of the frame, counted by ingress
    bit<48> age;       // from ingress_global_timestamp to egress_global_timestamp
    bit<16> sum;
    bit<16> type;
}

struct headers_t {
    ethernet_t ethernet;
    tag_t[3] tags;
    note_t note;
}

struct metadata_t {
    bit<8> mark;
    bit<72> wide;
    bit<16> tags;
    bit<32> number;
}

struct report_t {
    bit<48> src;
    bit<16> group;
}

parser Parse(packet_in packet, out headers_t h, inout metadata_t meta, inout standard_metadata_t standard) {
    state start {
        packet.extract(h.ethernet);
        transition select(h.ethernet.type) {
            0x8100: tag;
            default: accept;
        }
    }
    state tag {
        packet.extract(h.tags.next);
        meta.tags = meta.tags + 1;
        transition select(h.tags.last.type) {
            0x8100: tag;
            default: accept;
        }
    }
}

control Verify(inout headers_t h, inout metadata_t meta) {
    apply {}
}

control MulticastIngress(inout headers_t h, inout metadata_t meta, inout standard_metadata_t standard) {
    action to_port(bit<9> port) {
        standard.egress_spec = port;
    }
    action to_group(bit<16> group, bit<8> mark) {
        standard.mcast_grp = group;
        meta.mark = mark;
        meta.wide = (bit<72>) h.ethernet.src << 17;
    }
    action to_group_dropped(bit<16> group) {
        standard.mcast_grp = group;
        mark_to_drop(standard);
    }
    action reported(bit<16> group) {
        standard.mcast_grp = group;
        h.ethernet.src = h.ethernet.src + 1;
        h.tags.pop_front(1);
        digest<report_t>(1, { h.ethernet.src, group });
    }
    action drop() {
        mark_to_drop(standard);
    }
    table route {
        key = { h.ethernet.dst : exact @name("dst"); }
        actions = { to_port; to_group; to_group_dropped; reported; drop; }
        default_action = to_group(1, 0);
    }
    register<bit<32>>(1) arrived;
    apply {
        arrived.read(meta.number, 0);
        arrived.write(0, meta.number + 1);
        route.apply();
    }
}

control MulticastEgress(inout headers_t h, inout metadata_t meta, inout standard_metadata_t standard) {
    direct_counter(CounterType.packets_and_bytes) replicas;
    register<bit<32>>(512) seen;
    action push(bit<12> vlan) {
        replicas.count();
        h.tags.push_front(1);
        h.tags[0].setValid();
        h.tags[0] = { 0, 0, vlan, h.ethernet.type };
        h.ethernet.type = 0x8100;
    }
    action pop() {
        replicas.count();
        h.ethernet.type = h.tags[0].type;
        h.tags.pop_front(1);
    }
    action note() {
        replicas.count();
        h.note.setValid();
        h.note = { (bit<8>) standard.instance_type, (bit<8>) standard.egress_port, standard.egress_rid,
                   (bit<16>) standard.packet_length, meta.mark, meta.wide, meta.tags, meta.number,
                   standard.egress_global_timestamp - standard.ingress_global_timestamp, 0, h.ethernet.type };
        h.ethernet.type = 0x88b6;
    }
    action cut(bit<32> length) {
        replicas.count();
        truncate(length);
    }
    action drop() {
        replicas.count();
        mark_to_drop(standard);
    }
    action keep() {
        replicas.count();
    }
    table rewrite {
        key = {
            standard.egress_port : exact @name("port");
            standard.egress_rid : exact @name("rid");
        }
        actions = { push; pop; note; cut; drop; keep; }
        default_action = keep();
        counters = replicas;
    }
    apply {
        bit<32> before;
        seen.read(before, (bit<32>) standard.egress_port);
        seen.write((bit<32>) standard.egress_port, before + 1);
        if (h.ethernet.isValid()) {
            rewrite.apply();
        }
    }
}

control Update(inout headers_t h, inout metadata_t meta) {
    apply {
        update_checksum(h.note.isValid(), { h.note.rid, h.note.length, h.ethernet.dst }, h.note.sum,
                        HashAlgorithm.csum16);
    }
}

control Deparse(packet_out packet, in headers_t h) {
    apply {
        packet.emit(h.ethernet);
        packet.emit(h.note);
        packet.emit(h.tags);
    }
}

V1Switch(Parse(), Verify(), MulticastIngress(), MulticastEgress(), Update(), Deparse()) main;
