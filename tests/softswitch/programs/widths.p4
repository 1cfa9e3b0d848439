// SPDX-License-Identifier: Apache-2.0
// Fields of every width and offset that take some care: sub-byte ones, ones across bytes and words, up to 256 bits;
// copied, compared and written whole, sliced and summed; headers copied, compared, made valid twice, sent in another
// order than they came.
#include <core.p4>
#include <v1model.p4>

header bits_t {
    bit<1>  a;
    bit<2>  b;
    bit<3>  c;
    bit<5>  d;
    bit<7>  e;
    bit<9>  f;
    bit<13> g;
    bit<23> h;
    bit<31> i;
    bit<33> j;
    bit<1>  k;
    bit<47> l;
    bit<63> m;
    bit<18> n;
}

header wide_t {
    bit<128> first;
    bit<4>   pad;
    bit<256> second;
    bit<124> third;
    bit<65>  fourth;
    bit<63>  fifth;
}

header kind_t {
    bit<4> what;
    bit<4> more;
}

struct headers {
    kind_t kind;
    bits_t bits;
    bits_t copy;
    wide_t wide;
    wide_t twin;
}

struct metadata {
    bit<128> kept;
    bit<33>  odd;
}

parser WidthsParser(packet_in packet, out headers hdr, inout metadata meta, inout standard_metadata_t standard) {
    state start {
        packet.extract(hdr.kind);
        transition select(hdr.kind.what) {
            0 &&& 0x8: bits;
            8: both;
            9 .. 12: wide;
            default: accept;
        }
    }
    state both {
        packet.extract(hdr.copy);
        transition bits;
    }
    state bits {
        packet.extract(hdr.bits);
        transition select(hdr.bits.n[1:0], hdr.kind.more) {
            (0, _): accept;
            (1, 0 .. 9): wide;
            default: accept;
        }
    }
    state wide {
        packet.extract(hdr.wide);
        transition accept;
    }
}

control WidthsVerify(inout headers hdr, inout metadata meta) {
    apply { }
}

control WidthsIngress(inout headers hdr, inout metadata meta, inout standard_metadata_t standard) {
    action rotate() {
        hdr.bits.a = hdr.bits.k;
        hdr.bits.b = hdr.bits.n[9:8];
        hdr.bits.c = (bit<3>) hdr.bits.d;
        hdr.bits.d = hdr.bits.d + 1;
        hdr.bits.e = hdr.bits.e - hdr.bits.f[7:1];
        hdr.bits.g = hdr.bits.g ^ 13w0x1aaa;
        hdr.bits.j = hdr.bits.j + 33w0x1_0000_0001;
        hdr.bits.l = hdr.bits.l - 1;
        hdr.bits.m = hdr.bits.m << 1;
    }
    action fill(bit<31> i, bit<33> j, bit<63> m, bit<18> n) {
        hdr.bits.i = i;
        hdr.bits.j = j;
        hdr.bits.m = m;
        hdr.bits.n = n;
    }
    action wide(bit<128> first, bit<256> second) {
        meta.kept = hdr.wide.first;
        hdr.wide.first = first;
        hdr.wide.second = hdr.wide.second ^ second;
        hdr.wide.third = (bit<124>) meta.kept;
        hdr.wide.fourth = hdr.wide.fourth + 1;
    }
    action slices() {
        hdr.wide.second[255:128] = hdr.wide.first;
        hdr.wide.first[66:62] = hdr.wide.fourth[64:60];
        hdr.wide.fifth = hdr.wide.second[100:38];
        hdr.wide.third = hdr.wide.third + hdr.wide.second[123:0];
    }
    action twins() {
        hdr.twin = hdr.wide;
        hdr.twin.pad = 5;
    }
    action copies() {
        hdr.copy = hdr.bits;
        hdr.copy.c = 6;
    }
    action again() {
        hdr.bits.setValid();
        hdr.copy.setValid();
        hdr.copy.h = 23w0x7fffff;
    }
    action gone() {
        hdr.bits.setInvalid();
        hdr.wide.setInvalid();
    }
    table bits {
        key = {
            hdr.bits.h: exact;
            hdr.bits.e: exact;
        }
        actions = { rotate; fill; copies; again; gone; NoAction; }
        default_action = rotate();
        size = 64;
    }
    table wides {
        key = {
            hdr.wide.first: ternary;
            hdr.wide.fourth: lpm;
        }
        actions = { wide; slices; twins; gone; NoAction; }
        default_action = slices();
        size = 64;
    }
    table exact256 {
        key = {
            hdr.wide.second: exact;
            hdr.bits.j: exact;
        }
        actions = { wide; twins; again; NoAction; }
        size = 64;
    }
    apply {
        standard.egress_spec = 2;
        if (hdr.bits.isValid()) {
            bits.apply();
        }
        if (hdr.wide.isValid() && !(hdr.wide.first == 0)) {
            wides.apply();
        }
        if (!exact256.apply().hit && hdr.wide.first > hdr.wide.second[127:0]) {
            standard.egress_spec = 3;
        }
        if (hdr.bits == hdr.copy) {
            hdr.kind.more = hdr.kind.more + 1;
        }
        if (hdr.wide != hdr.twin) {
            hdr.kind.what = hdr.kind.what |+| 1;
        }
    }
}

control WidthsEgress(inout headers hdr, inout metadata meta, inout standard_metadata_t standard) {
    apply {
        if (hdr.wide.isValid()) {
            meta.odd = (bit<33>) hdr.wide.second[255:224] + 1;
            hdr.wide.pad = meta.odd[32:32] ++ meta.odd[2:0];
        }
    }
}

control WidthsUpdate(inout headers hdr, inout metadata meta) {
    apply { }
}

control WidthsDeparser(packet_out packet, in headers hdr) {
    apply {
        packet.emit(hdr.twin);
        packet.emit(hdr.kind);
        packet.emit(hdr.wide);
        packet.emit(hdr.copy);
        packet.emit(hdr.bits);
    }
}

V1Switch(WidthsParser(), WidthsVerify(), WidthsIngress(), WidthsEgress(), WidthsUpdate(), WidthsDeparser()) main;
