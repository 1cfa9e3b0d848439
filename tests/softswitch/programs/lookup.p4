// SPDX-License-Identifier: Apache-2.0
// One table of each match kind, and all that can be counted, metered, remembered and reported.
#include <core.p4>
#include <v1model.p4>

header request_t {
    bit<8>  table_id;  // which table to look in
    bit<32> first;
    bit<16> second;
    bit<8>  third;
    bit<16> answer;    // set by the entry that matched
}

struct headers_t { request_t request; }

struct found_t { bit<32> first; bit<9> port; }

struct meta_t { bit<2> color; bit<16> seen; }

parser FrameParser(packet_in packet, out headers_t hdr, inout meta_t meta, inout standard_metadata_t std) {
    state start {
        packet.extract(hdr.request);
        transition accept;
    }
}

control Verify(inout headers_t hdr, inout meta_t meta) { apply {} }

control LookupIngress(inout headers_t hdr, inout meta_t meta, inout standard_metadata_t std) {
    direct_counter(CounterType.packets_and_bytes) exact_counter;
    direct_meter<bit<2>>(MeterType.bytes) exact_meter;
    counter(4, CounterType.packets_and_bytes) per_slot;
    meter(4, MeterType.packets) slot_meter;
    register<bit<16>>(4) visits;

    action answer(bit<16> value) { hdr.request.answer = value; }
    action metered(bit<16> value) { hdr.request.answer = value; exact_meter.read(meta.color); }
    action drop() { mark_to_drop(std); }
    action report() {
        digest<found_t>(1, { hdr.request.first, std.ingress_port });
        hdr.request.answer = 0xd1;
    }
    action remember() {
        bit<32> slot = (bit<32>) hdr.request.third;
        per_slot.count(slot);
        visits.read(meta.seen, slot);
        meta.seen = meta.seen + 1;
        visits.write(slot, meta.seen);
        hdr.request.answer = meta.seen;
        slot_meter.execute_meter(slot, meta.color);
    }
    action digest_of_fields() {
        hash(hdr.request.answer, HashAlgorithm.crc16, 16w0,
             { hdr.request.first, hdr.request.second }, 32w65536);
    }

    @name("exact_t") table exact_table {
        key = { hdr.request.first : exact @name("first"); hdr.request.second : exact @name("second"); }
        actions = { metered; drop; @defaultonly NoAction; }
        const default_action = NoAction;
        counters = exact_counter;
        meters = exact_meter;
        size = 4;
    }
    @name("lpm_t") table lpm_table {
        key = { hdr.request.second : exact @name("second"); hdr.request.first : lpm @name("first"); }
        actions = { answer; NoAction; }
        default_action = NoAction;
    }
    @name("ternary_t") table ternary_table {
        key = { hdr.request.first : ternary @name("first"); hdr.request.second : ternary @name("second"); }
        actions = { answer; drop; }
        default_action = drop;
    }
    @name("range_t") table range_table {
        key = { hdr.request.second : range @name("second"); hdr.request.third : exact @name("third"); }
        actions = { answer; drop; }
        const default_action = drop;
    }
    @name("optional_t") table optional_table {
        key = { hdr.request.first : optional @name("first"); hdr.request.third : optional @name("third"); }
        actions = { answer; drop; }
        const default_action = drop;
    }
    @name("const_t") table const_table {
        key = { hdr.request.first : ternary @name("first"); }
        actions = { answer; report; remember; digest_of_fields; drop; }
        const default_action = drop;
        const entries = {
            0x01 &&& 0xff : report();
            0x02 &&& 0xff : remember();
            0x03 &&& 0xff : digest_of_fields();
            0x01000000 &&& 0xff000000 : answer(0xc0);
            _ : answer(0xc1);
        }
    }

    apply {
        std.egress_spec = std.ingress_port;
        if (!hdr.request.isValid()) {
            mark_to_drop(std);
            exit;
        }
        if (hdr.request.table_id == 0) {
            if (exact_table.apply().hit && meta.color == 2) {
                mark_to_drop(std);
            }
        } else if (hdr.request.table_id == 1) {
            lpm_table.apply();
        } else if (hdr.request.table_id == 2) {
            ternary_table.apply();
        } else if (hdr.request.table_id == 3) {
            range_table.apply();
        } else if (hdr.request.table_id == 4) {
            optional_table.apply();
        } else {
            switch (const_table.apply().action_run) {
                remember: { if (meta.color == 2) { mark_to_drop(std); } }
                default: {}
            }
        }
    }
}

control LookupEgress(inout headers_t hdr, inout meta_t meta, inout standard_metadata_t std) { apply {} }
control Update(inout headers_t hdr, inout meta_t meta) { apply {} }
control FrameDeparser(packet_out packet, in headers_t hdr) { apply { packet.emit(hdr.request); } }

V1Switch(FrameParser(), Verify(), LookupIngress(), LookupEgress(), Update(), FrameDeparser()) main;
