// SPDX-License-Identifier: Apache-2.0
// Every operator on numbers of even and odd widths, with what is known only when a packet is there: shifts by fields,
// division by fields, signed and saturating arithmetic, slices, concatenation, casts, comparisons.
#include <core.p4>
#include <v1model.p4>

header operands_t {
    bit<8>  what;
    bit<32> a;
    bit<32> b;
    int<16> s;
    int<16> t;
    bit<7>  small;
    bit<17> odd;
    bit<64> wide;
    bit<8>  count;
}

header results_t {
    bit<32> r0;
    bit<32> r1;
    bit<64> r2;
    int<16> i0;
    int<16> i1;
    bit<7>  n;
    bit<17> m;
    bit<8>  flags;
}

struct headers {
    operands_t operands;
    results_t  results;
}

struct metadata {
    bit<64> scratch;
    int<32> signed;
    bit<33> carry;
}

parser ArithmeticParser(packet_in packet, out headers hdr, inout metadata meta, inout standard_metadata_t standard) {
    state start {
        packet.extract(hdr.operands);
        transition accept;
    }
}

control ArithmeticVerify(inout headers hdr, inout metadata meta) {
    apply { }
}

control ArithmeticIngress(inout headers hdr, inout metadata meta, inout standard_metadata_t standard) {
    action ring() {
        hdr.results.r0 = hdr.operands.a + hdr.operands.b;
        hdr.results.r1 = hdr.operands.a - hdr.operands.b;
        hdr.results.r2 = (bit<64>) hdr.operands.a * (bit<64>) hdr.operands.b;
        hdr.results.n = hdr.operands.small * 7w5 + (bit<7>) hdr.operands.odd;
        hdr.results.m = ~hdr.operands.odd ^ (bit<17>) hdr.operands.a;
        hdr.results.i0 = hdr.operands.s + hdr.operands.t;
        hdr.results.i1 = -hdr.operands.s - hdr.operands.t;
    }
    action shifts() {
        hdr.results.r0 = hdr.operands.a << hdr.operands.count;
        hdr.results.r1 = hdr.operands.a >> hdr.operands.count;
        hdr.results.r2 = hdr.operands.wide >> hdr.operands.small;
        hdr.results.i0 = hdr.operands.s >> hdr.operands.count;
        hdr.results.i1 = hdr.operands.t << hdr.operands.count;
        hdr.results.n = hdr.operands.small >> 3 << 2;
        hdr.results.m = hdr.operands.odd << hdr.operands.small;
    }
    action saturating() {
        hdr.results.r0 = hdr.operands.a |+| hdr.operands.b;
        hdr.results.r1 = hdr.operands.a |-| hdr.operands.b;
        hdr.results.r2 = hdr.operands.wide |+| (bit<64>) hdr.operands.a;
        hdr.results.i0 = hdr.operands.s |+| hdr.operands.t;
        hdr.results.i1 = hdr.operands.s |-| hdr.operands.t;
        hdr.results.n = hdr.operands.small |-| 7w9;
        hdr.results.m = hdr.operands.odd |+| 17w0x1fff0;
    }
    action casts() {
        meta.signed = (int<32>) hdr.operands.s;
        hdr.results.r0 = (bit<32>) meta.signed;
        hdr.results.r1 = (bit<32>) (bit<16>) hdr.operands.t;
        hdr.results.r2 = hdr.operands.a[23:8] ++ hdr.operands.small ++ hdr.operands.odd ++ hdr.operands.b[31:8];
        hdr.results.i0 = (int<16>) hdr.operands.a[15:0];
        hdr.results.i1 = (int<16>) (int<8>) (bit<8>) hdr.operands.b;
        hdr.results.m[10:3] = hdr.operands.count;
        hdr.results.n[6:6] = hdr.operands.wide[63:63];
    }
    action ternaries() {
        meta.carry = (bit<33>) hdr.operands.a + (bit<33>) hdr.operands.b;
        hdr.results.r0 = meta.carry[32:32] == 1 ? hdr.operands.a : hdr.operands.b;
        hdr.results.r1 = hdr.operands.s < hdr.operands.t ? 32w1 : (hdr.operands.s == hdr.operands.t ? 32w2 : 32w3);
        hdr.results.r2 = hdr.operands.a > hdr.operands.b ? 64w0 - 1 : hdr.operands.wide & 64w0xff00ff00ff00ff00;
        hdr.results.i0 = hdr.operands.s >= 0 ? hdr.operands.s : -hdr.operands.s;
    }
    action products() {
        // p4c has no division by what is known at run time; the test makes one of these products.
        hdr.results.r0 = hdr.operands.a * hdr.operands.b;
        hdr.results.r1 = hdr.operands.a * 7;
        hdr.results.r2 = hdr.operands.wide * (bit<64>) hdr.operands.b;
        hdr.results.m = hdr.operands.odd * (bit<17>) hdr.operands.count;
        hdr.results.n = hdr.operands.small * 7w3;
    }
    apply {
        hdr.results.setValid();
        standard.egress_spec = 1;
        switch (hdr.operands.what) {
            0: { ring(); }
            1: { shifts(); }
            2: { saturating(); }
            3: { casts(); }
            7: { ternaries(); }
            default: { products(); }
        }
        if (hdr.operands.a < hdr.operands.b && hdr.operands.s > hdr.operands.t) {
            hdr.results.flags = hdr.results.flags | 1;
        }
        if (hdr.operands.s >= -3 || !(hdr.operands.t <= 7)) {
            hdr.results.flags = hdr.results.flags | 2;
        }
        if (hdr.operands.a + hdr.operands.b == 0) {
            hdr.results.flags = hdr.results.flags | 4;
        }
        if (hdr.operands.a - hdr.operands.b > 32w0x7fffffff) {
            hdr.results.flags = hdr.results.flags | 8;
        }
        if (hdr.operands.s + hdr.operands.t < 0) {
            hdr.results.flags = hdr.results.flags | 16;
        }
        if ((hdr.operands.small ++ hdr.operands.count) != (bit<15>) hdr.operands.odd) {
            hdr.results.flags = hdr.results.flags | 32;
        }
    }
}

control ArithmeticEgress(inout headers hdr, inout metadata meta, inout standard_metadata_t standard) {
    apply { }
}

control ArithmeticUpdate(inout headers hdr, inout metadata meta) {
    apply { }
}

control ArithmeticDeparser(packet_out packet, in headers hdr) {
    apply {
        packet.emit(hdr.results);
        packet.emit(hdr.operands);
    }
}

V1Switch(
    ArithmeticParser(), ArithmeticVerify(), ArithmeticIngress(), ArithmeticEgress(), ArithmeticUpdate(),
    ArithmeticDeparser()
) main;
