// SPDX-License-Identifier: Apache-2.0
// Everything that makes a packet pass more than once, or leave more than once. The first byte says what to do.
#include <core.p4>
#include <v1model.p4>

const bit<8> CLONE_INGRESS = 1;
const bit<8> CLONE_EGRESS = 2;
const bit<8> RESUBMIT = 3;
const bit<8> RECIRCULATE = 4;
const bit<8> MULTICAST = 5;
const bit<8> TRUNCATE = 6;
const bit<8> RECIRCULATE_FOR_EVER = 7;
const bit<8> CLONE_FOR_EVER = 8;
const bit<8> MULTICAST_DROPPED = 9;

header order_t {
    bit<8> what;
    bit<8> argument;
}

header seen_t {
    bit<8> instance;  // instance_type in egress
    bit<8> port;      // egress_port
    bit<8> rid;       // egress_rid
    bit<8> kept;      // metadata that the field list keeps
    bit<8> lost;      // metadata that it does not
    bit<8> length;    // packet_length in egress
}

struct headers_t {
    order_t order;
    seen_t seen;
}

struct metadata_t {
    @field_list(1)
    bit<8> kept;
    bit<8> lost;
}

parser Parse(packet_in packet, out headers_t h, inout metadata_t meta, inout standard_metadata_t standard) {
    state start {
        packet.extract(h.order);
        transition accept;
    }
}

control Verify(inout headers_t h, inout metadata_t meta) {
    apply {}
}

control CopiesIngress(inout headers_t h, inout metadata_t meta, inout standard_metadata_t standard) {
    action to_port(bit<9> port) {
        standard.egress_spec = port;
    }
    table route {
        key = { h.order.what : exact @name("what"); }
        actions = { to_port; NoAction; }
        default_action = to_port(1);
    }
    apply {
        route.apply();
        meta.kept = meta.kept + 1;
        meta.lost = meta.lost + 1;
        if (h.order.what == CLONE_INGRESS) {
            h.order.argument = h.order.argument + 1;
            clone_preserving_field_list(CloneType.I2E, 5, 1);
        } else if (h.order.what == RESUBMIT && standard.instance_type == 0) {
            h.order.argument = 0x77;
            meta.kept = 40;
            resubmit_preserving_field_list(1);
        } else if (h.order.what == MULTICAST || h.order.what == MULTICAST_DROPPED) {
            standard.mcast_grp = (bit<16>) h.order.argument;
            if (h.order.what == MULTICAST_DROPPED) {
                mark_to_drop(standard);
            }
        }
    }
}

control CopiesEgress(inout headers_t h, inout metadata_t meta, inout standard_metadata_t standard) {
    apply {
        bit<32> arrived = standard.packet_length;
        if (h.order.what == CLONE_EGRESS && standard.instance_type == 0) {
            meta.kept = 50;
            clone_preserving_field_list(CloneType.E2E, 6, 1);
        } else if (h.order.what == RECIRCULATE && meta.kept < 10) {
            h.order.argument = h.order.argument + 1;
            meta.kept = 60;
            recirculate_preserving_field_list(1);
        } else if (h.order.what == TRUNCATE) {
            truncate((bit<32>) h.order.argument);
        } else if (h.order.what == RECIRCULATE_FOR_EVER) {
            recirculate_preserving_field_list(1);
        } else if (h.order.what == CLONE_FOR_EVER) {
            clone(CloneType.E2E, 6);
            clone(CloneType.E2E, 6);
        }
        if (!h.seen.isValid() && meta.kept != 60 && h.order.what != RECIRCULATE_FOR_EVER) {
            h.seen.setValid();
            h.seen = { (bit<8>) standard.instance_type, (bit<8>) standard.egress_port,
                       (bit<8>) standard.egress_rid, meta.kept, meta.lost, (bit<8>) arrived };
        }
    }
}

control Update(inout headers_t h, inout metadata_t meta) {
    apply {}
}

control Deparse(packet_out packet, in headers_t h) {
    apply {
        packet.emit(h);
    }
}

V1Switch(Parse(), Verify(), CopiesIngress(), CopiesEgress(), Update(), Deparse()) main;
