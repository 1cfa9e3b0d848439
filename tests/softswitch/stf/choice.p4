// SPDX-License-Identifier: Apache-2.0
// Members, groups and selectors; parser value sets; a varbit; entries of the program; loops; counters and the like.
#include <core.p4>
#include <v1model.p4>

header start_t {
    bit<8> kind;
    bit<8> flow;
    bit<16> answer;
}

header options_t {
    bit<4> version;
    bit<4> words;
    varbit<96> data;
    bit<8> end;
}

struct headers_t {
    start_t start;
    options_t options;
    options_t copy;
}

struct flow_t {
    @match(exact) bit<8> kind;
    @match(exact) bit<8> flow;
}

struct metadata_t {
    bit<32> last;
}

parser Parse(packet_in packet, out headers_t h, inout metadata_t meta, inout standard_metadata_t standard) {
    value_set<bit<8>>(2) with_options;
    value_set<flow_t>(2) flows_with_options;
    state start {
        packet.extract(h.start);
        transition select(h.start.kind) {
            with_options : options;
            8w0x40 &&& 8w0xf0 : options;
            default : by_flow;
        }
    }
    state by_flow {
        transition select(h.start.kind, h.start.flow) {
            flows_with_options : options;
            default : accept;
        }
    }
    state options {
        packet.extract(h.options, (bit<32>) packet.lookahead<bit<8>>()[3:0] * 32);
        transition accept;
    }
}

control Verify(inout headers_t h, inout metadata_t meta) {
    apply {}
}

control Choice(inout headers_t h, inout metadata_t meta, inout standard_metadata_t standard) {
    counter(4, CounterType.packets_and_bytes) kinds;
    direct_counter(CounterType.packets_and_bytes) hits;
    register<bit<32>>(4) totals;
    meter(4, MeterType.packets) pace;
    action_selector(HashAlgorithm.identity, 8, 16) spread;
    action_profile(2) fixed;

    action to_port(bit<9> port) {
        standard.egress_spec = port;
    }
    action drop() {
        mark_to_drop(standard);
    }
    action say(bit<16> word) {
        h.start.answer = word;
    }
    action sum_up() {
        bit<8> i;
        bit<16> sum = 0;
        for (i = 1; i <= h.start.flow; i = i + 1) {
            if (i == 200) {
                break;
            }
            sum = sum + (bit<16>) i;
        }
        h.start.answer = sum;
    }
    action take_total() {
        totals.read(meta.last, 1);
        totals.write(1, meta.last + 1);
        h.start.answer = (bit<16>) meta.last;
    }
    action hash_options() {
        hash(h.start.answer, HashAlgorithm.crc16, 16w0, { h.start.kind, h.options.data }, 32w0x10000);
    }
    action for_ever() {
        bit<8> i;
        for (i = 0; i == 0; i = i * 2) {
            h.start.answer = h.start.answer + 1;
        }
    }
    action colour() {
        pace.execute_meter((bit<32>) h.start.flow, h.start.answer);
    }

    table spreading {
        key = {
            h.start.kind : exact @name("kind");
            h.start.flow : selector;
        }
        actions = { to_port; drop; NoAction; }
        implementation = spread;
        support_timeout = true;
    }
    table fixing {
        key = { h.start.kind : exact @name("kind"); }
        actions = { drop; to_port; NoAction; }
        implementation = fixed;
    }
    table saying {
        key = { h.start.kind : ternary @name("kind"); h.start.flow : range @name("flow"); }
        actions = { say; sum_up; take_total; hash_options; colour; for_ever; NoAction; }
        counters = hits;
        entries = {
            (8w0x11, _) : sum_up();
            (8w0x12, _) : take_total();
            (8w0x41, _) : hash_options();
            (8w0x13, _) : colour();
            (8w0x14, _) : for_ever();
            (8w0x10 &&& 8w0xf0, 8w5 .. 8w9) : say(0x0509);
            (8w0x10 &&& 8w0xf0, _) : say(0x1010);
        }
    }
    apply {
        kinds.count((bit<32>) h.start.kind >> 4);
        fixing.apply();
        spreading.apply();
        saying.apply();
        if (h.options.isValid() && h.start.flow == 0xcc) {
            h.copy = h.options;
            h.copy.version = 0xe;
        }
    }
}

control Leave(inout headers_t h, inout metadata_t meta, inout standard_metadata_t standard) {
    apply {}
}

control Update(inout headers_t h, inout metadata_t meta) {
    apply {}
}

control Deparse(packet_out packet, in headers_t h) {
    apply {
        packet.emit(h);
    }
}

V1Switch(Parse(), Verify(), Choice(), Leave(), Update(), Deparse()) main;
