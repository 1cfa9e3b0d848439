// SPDX-License-Identifier: Apache-2.0
// Tables of every kind with ties among their entries, const entries of every kind (some in the code, some in memory),
// hit and miss, what ran, exit, default actions that change, direct counters and meters, idle timeouts.
#include <core.p4>
#include <v1model.p4>

header keys_t {
    bit<8>  a;
    bit<16> b;
    bit<12> c;
    bit<4>  d;
    bit<32> e;
}

header found_t {
    bit<8> hit;
    bit<8> value;
    bit<8> colour;
    bit<8> fixed;
}

struct headers {
    keys_t  keys;
    found_t found;
}

struct metadata {
    bit<2> colour;
}

parser MatchesParser(packet_in packet, out headers hdr, inout metadata meta, inout standard_metadata_t standard) {
    state start {
        packet.extract(hdr.keys);
        transition accept;
    }
}

control MatchesVerify(inout headers hdr, inout metadata meta) {
    apply { }
}

control MatchesIngress(inout headers hdr, inout metadata meta, inout standard_metadata_t standard) {
    direct_counter(CounterType.packets_and_bytes) hits;
    direct_counter(CounterType.packets) more;
    direct_meter<bit<2>>(MeterType.bytes) rate;

    action set(bit<8> value) {
        hdr.found.value = value;
    }
    action add(bit<8> value) {
        hdr.found.value = hdr.found.value + value;
    }
    action metered(bit<8> value) {
        rate.read(meta.colour);
        hdr.found.value = hdr.found.value ^ value;
    }
    action leave() {
        hdr.found.hit = hdr.found.hit | 0x80;
        exit;
    }
    action drop() {
        mark_to_drop(standard);
    }
    table exact_one {
        key = { hdr.keys.a: exact; }
        actions = { metered; }
        const default_action = metered(1);
        counters = hits;
        meters = rate;
        size = 32;
    }
    table lpm_one {
        key = { hdr.keys.b: exact; hdr.keys.e: lpm; }
        actions = { set; add; leave; drop; NoAction; }
        default_action = add(2);
        support_timeout = true;
        size = 64;
    }
    table fixed_exact {
        key = { hdr.keys.a: exact; hdr.keys.d: exact; }
        actions = { set; add; NoAction; }
        const default_action = NoAction();
        const entries = {
            (0, 0): set(1);
            (1, 1): add(2);
            (255, 15): set(3);
        }
    }
    table fixed_lpm {
        key = { hdr.keys.e: lpm; }
        actions = { set; add; leave; }
        const default_action = add(7);
        const entries = {
            32w0x80000000 &&& 32w0x80000000: add(1);
            32w0xffffffff: set(9);
            32w0xffff0000 &&& 32w0xffff0000: leave();
            32w0 &&& 32w0xfffffffe: add(3);
        }
    }
    table fixed_ternary {
        key = { hdr.keys.b: ternary; hdr.keys.c: range; }
        actions = { set; add; drop; NoAction; }
        const default_action = NoAction();
        const entries = {
            (0 &&& 1, 0 .. 7): add(1);
            (0 &&& 3, _): add(2);
            (_, 4095): set(200);
            (0xffff, 1 .. 4094): drop();
            (_, 0 .. 2047): add(4);
        }
    }
    table fixed_optional {
        key = { hdr.keys.a: optional; hdr.keys.d: optional; }
        actions = { set; add; NoAction; }
        const default_action = NoAction();
        const entries = {
            (0, 0): add(1);
            (0, _): add(2);
            (_, 15): add(4);
            (1, 1): add(8);
        }
    }
    table many_exact {
        key = { hdr.keys.a: exact; hdr.keys.d: exact; }
        actions = { set; add; NoAction; }
        const default_action = add(1);
        const entries = {
            (0, 0): add(0);
            (7, 1): set(1);
            (14, 2): set(2);
            (21, 3): add(3);
            (28, 4): set(4);
            (35, 5): set(5);
            (42, 6): add(6);
            (49, 7): set(7);
            (56, 8): set(8);
            (63, 9): add(9);
            (70, 10): set(10);
            (77, 11): set(11);
            (84, 12): add(12);
            (91, 13): set(13);
            (98, 14): set(14);
            (105, 15): add(15);
            (112, 0): set(16);
            (119, 1): set(17);
            (126, 2): add(18);
            (133, 3): set(19);
            (140, 4): set(20);
            (147, 5): add(21);
            (154, 6): set(22);
            (161, 7): set(23);
            (168, 8): add(24);
            (175, 9): set(25);
            (182, 10): set(26);
            (189, 11): add(27);
            (196, 12): set(28);
            (203, 13): set(29);
            (210, 14): add(30);
            (217, 15): set(31);
            (224, 0): set(32);
            (231, 1): add(33);
            (238, 2): set(34);
            (245, 3): set(35);
            (252, 4): add(36);
            (3, 5): set(37);
            (10, 6): set(38);
            (17, 7): add(39);
            (24, 8): set(40);
            (31, 9): set(41);
            (38, 10): add(42);
            (45, 11): set(43);
            (52, 12): set(44);
            (59, 13): add(45);
            (66, 14): set(46);
            (73, 15): set(47);
            (80, 0): add(48);
            (87, 1): set(49);
            (94, 2): set(50);
            (101, 3): add(51);
            (108, 4): set(52);
            (115, 5): set(53);
            (122, 6): add(54);
            (129, 7): set(55);
            (136, 8): set(56);
            (143, 9): add(57);
            (150, 10): set(58);
            (157, 11): set(59);
            (164, 12): add(60);
            (171, 13): set(61);
            (178, 14): set(62);
            (185, 15): add(63);
            (192, 0): set(64);
            (199, 1): set(65);
            (206, 2): add(66);
            (213, 3): set(67);
            (220, 4): set(68);
            (227, 5): add(69);
        }
    }
    table many_ternary {
        key = { hdr.keys.a: ternary; hdr.keys.d: optional; }
        actions = { set; add; NoAction; }
        const default_action = add(3);
        const entries = {
            (0x1 &&& 255, 1): set(1);
            (0x2 &&& 15, 2): set(2);
            (0x3 &&& 255, 3): add(3);
            (0x4 &&& 15, 4): set(4);
            (0x5 &&& 255, 0): set(5);
            (0x6 &&& 15, 1): add(6);
            (0x7 &&& 255, 2): set(7);
            (0x8 &&& 15, 3): set(8);
            (0x9 &&& 255, 4): add(9);
            (0xa &&& 15, 0): set(10);
            (0xb &&& 255, 1): set(11);
            (0xc &&& 15, 2): add(12);
            (0xd &&& 255, 3): set(13);
            (0xe &&& 15, 4): set(14);
            (0xf &&& 255, 0): add(15);
            (0x10 &&& 15, 1): set(16);
            (0x11 &&& 255, 2): set(17);
            (0x12 &&& 15, 3): add(18);
            (0x13 &&& 255, 4): set(19);
            (0x14 &&& 15, 0): set(20);
            (0x15 &&& 255, 1): add(21);
            (0x16 &&& 15, 2): set(22);
            (0x17 &&& 255, 3): set(23);
            (0x18 &&& 15, 4): add(24);
            (0x19 &&& 255, 0): set(25);
            (0x1a &&& 15, 1): set(26);
            (0x1b &&& 255, 2): add(27);
            (0x1c &&& 15, 3): set(28);
            (0x1d &&& 255, 4): set(29);
            (0x1e &&& 15, 0): add(30);
            (0x1f &&& 255, 1): set(31);
            (0x20 &&& 15, 2): set(32);
            (0x21 &&& 255, 3): add(33);
            (0x22 &&& 15, 4): set(34);
            (0x23 &&& 255, 0): set(35);
            (0x24 &&& 15, 1): add(36);
            (0x25 &&& 255, 2): set(37);
            (0x26 &&& 15, 3): set(38);
            (0x27 &&& 255, 4): add(39);
            (0x28 &&& 15, 0): set(40);
            (0x29 &&& 255, 1): set(41);
            (0x2a &&& 15, 2): add(42);
            (0x2b &&& 255, 3): set(43);
            (0x2c &&& 15, 4): set(44);
            (0x2d &&& 255, 0): add(45);
            (0x2e &&& 15, 1): set(46);
            (0x2f &&& 255, 2): set(47);
            (0x30 &&& 15, 3): add(48);
            (0x31 &&& 255, 4): set(49);
            (0x32 &&& 15, 0): set(50);
            (0x33 &&& 255, 1): add(51);
            (0x34 &&& 15, 2): set(52);
            (0x35 &&& 255, 3): set(53);
            (0x36 &&& 15, 4): add(54);
            (0x37 &&& 255, 0): set(55);
            (0x38 &&& 15, 1): set(56);
            (0x39 &&& 255, 2): add(57);
            (0x3a &&& 15, 3): set(58);
            (0x3b &&& 255, 4): set(59);
            (0x3c &&& 15, 0): add(60);
            (0x3d &&& 255, 1): set(61);
            (0x3e &&& 15, 2): set(62);
            (0x3f &&& 255, 3): add(63);
            (0x40 &&& 15, 4): set(64);
            (0x41 &&& 255, 0): set(65);
            (0x42 &&& 15, 1): add(66);
            (0x43 &&& 255, 2): set(67);
            (0x44 &&& 15, 3): set(68);
            (0x45 &&& 255, 4): add(69);
            (0x46 &&& 15, 0): set(70);
        }
    }
    table ranges {
        key = { hdr.keys.c: range; hdr.keys.d: optional; hdr.keys.a: ternary; }
        actions = { set; add; drop; leave; NoAction; }
        default_action = set(0);
        counters = more;
        size = 64;
    }
    apply {
        hdr.found.setValid();
        standard.egress_spec = 4;
        if (hdr.keys.isValid()) {
            exact_one.apply();
            hdr.found.colour = (bit<8>) meta.colour;
            if (lpm_one.apply().hit) {
                hdr.found.hit = hdr.found.hit | 1;
            }
            fixed_exact.apply();
            if (fixed_lpm.apply().miss) {
                hdr.found.hit = hdr.found.hit | 2;
            }
            switch (fixed_ternary.apply().action_run) {
                set: { hdr.found.fixed = hdr.found.fixed + 1; }
                add: { hdr.found.fixed = hdr.found.fixed + 2; }
                default: { hdr.found.fixed = hdr.found.fixed + 4; }
            }
            fixed_optional.apply();
            many_exact.apply();
            if (many_ternary.apply().hit) {
                hdr.found.hit = hdr.found.hit | 4;
            }
            switch (ranges.apply().action_run) {
                add: { hdr.found.fixed = hdr.found.fixed | 0x40; }
                leave: { hdr.found.fixed = 255; }
                NoAction: { hdr.found.fixed = hdr.found.fixed | 0x80; }
            }
        }
    }
}

control MatchesEgress(inout headers hdr, inout metadata meta, inout standard_metadata_t standard) {
    action mark() {
        hdr.found.hit = hdr.found.hit | 0x40;
    }
    action stop() {
        mark_to_drop(standard);
        exit;
    }
    table last {
        key = { hdr.found.value: exact; }
        actions = { mark; stop; NoAction; }
        size = 16;
    }
    apply {
        if (!last.apply().hit) {
            hdr.found.hit = hdr.found.hit | 0x20;
        }
    }
}

control MatchesUpdate(inout headers hdr, inout metadata meta) {
    apply { }
}

control MatchesDeparser(packet_out packet, in headers hdr) {
    apply {
        packet.emit(hdr.found);
        packet.emit(hdr.keys);
    }
}

V1Switch(
    MatchesParser(), MatchesVerify(), MatchesIngress(), MatchesEgress(), MatchesUpdate(), MatchesDeparser()
) main;
