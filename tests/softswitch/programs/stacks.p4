// SPDX-License-Identifier: Apache-2.0
// Stacks and unions, and a parser with all that a parser can have: loops, next and last, look-ahead, advance, verify,
// select over masks, ranges and several keys, its own errors.
#include <core.p4>
#include <v1model.p4>

error { TooMany, Odd }

header kind_t {
    bit<8> what;
    bit<8> index;
}

header label_t {
    bit<20> label;
    bit<3>  class;
    bit<1>  bottom;
    bit<8>  ttl;
}

header byte_t {
    bit<8> value;
}

header short_t {
    bit<16> value;
}

header long_t {
    bit<48> value;
}

header_union either_t {
    byte_t  byte;
    short_t short;
    long_t  long;
}

struct headers {
    kind_t     kind;
    label_t[4] labels;
    short_t[3] shorts;
    either_t   either;
    byte_t     tail;
}

struct metadata {
    bit<8>  depth;
    bit<32> seen;
    bit<16> ahead;
}

parser StacksParser(packet_in packet, out headers hdr, inout metadata meta, inout standard_metadata_t standard) {
    state start {
        packet.extract(hdr.kind);
        transition select(hdr.kind.what, hdr.kind.index) {
            (0 .. 15, _): labels;
            (0x10 &&& 0xf0, 0 .. 3): shorts;
            (0x20 &&& 0xf0, _): skip;
            (0x30 &&& 0xf1, 1): byte;
            (0x30 &&& 0xf0, 2): short;
            (0x31 &&& 0xf1, _): long;
            (0x40, _): peek;
            (255, 255): accept;
        }
    }
    state labels {
        packet.extract(hdr.labels.next);
        meta.depth = meta.depth + 1;
        meta.seen = meta.seen + (bit<32>) hdr.labels.last.label;
        verify(hdr.labels.last.ttl != 255, error.TooMany);
        transition select(hdr.labels.last.bottom, hdr.labels.last.class) {
            (1, _): after_labels;
            (0, 5 .. 6): shorts;
            (0, _): labels;
        }
    }
    state after_labels {
        meta.depth = (bit<8>) hdr.labels.lastIndex;
        transition select(meta.depth) {
            0: peek;
            1: byte;
            2: skip;
            default: accept;
        }
    }
    state shorts {
        packet.extract(hdr.shorts.next);
        transition select(packet.lookahead<bit<4>>()) {
            0: shorts;
            1: skip;
            7 .. 9: byte;
            default: accept;
        }
    }
    state skip {
        packet.advance(16);
        transition select(packet.lookahead<bit<16>>()) {
            0: accept;
            0x0100 &&& 0xff00: short;
            default: tail;
        }
    }
    state peek {
        meta.ahead = packet.lookahead<bit<16>>();
        verify(meta.ahead[0:0] == 0, error.Odd);
        packet.advance((bit<32>) hdr.kind.index << 3);
        transition tail;
    }
    state byte {
        packet.extract(hdr.either.byte);
        transition accept;
    }
    state short {
        packet.extract(hdr.either.short);
        transition tail;
    }
    state long {
        packet.extract(hdr.either.long);
        transition accept;
    }
    state tail {
        packet.extract(hdr.tail);
        transition accept;
    }
}

control StacksVerify(inout headers hdr, inout metadata meta) {
    apply { }
}

control StacksIngress(inout headers hdr, inout metadata meta, inout standard_metadata_t standard) {
    action push() {
        hdr.labels.push_front(1);
        hdr.labels[0].setValid();
        hdr.labels[0].label = 20w0xabcde;
        hdr.labels[0].ttl = hdr.labels[1].ttl - 1;
    }
    action push_three() {
        hdr.labels.push_front(3);
        hdr.labels[1].setValid();
    }
    action pop() {
        hdr.labels.pop_front(1);
    }
    action pop_all() {
        hdr.labels.pop_front(4);
        hdr.shorts.push_front(2);
    }
    action pop_two() {
        hdr.shorts.pop_front(2);
        hdr.shorts[2].setValid();
        hdr.shorts[2].value = (bit<16>) meta.seen;
    }
    action copy() {
        hdr.labels[2] = hdr.labels[0];
        hdr.labels[3] = hdr.labels[1];
        hdr.shorts[0] = hdr.shorts[1];
    }
    action to_byte() {
        hdr.either.byte.setValid();
        hdr.either.byte.value = hdr.kind.what;
    }
    action to_long(bit<48> value) {
        hdr.either.long.setValid();
        hdr.either.long.value = value;
    }
    action none() {
        hdr.either.short.setInvalid();
        hdr.tail.setInvalid();
    }
    action mark(bit<8> value) {
        hdr.tail.setValid();
        hdr.tail.value = value + meta.depth;
    }
    table first {
        key = {
            hdr.labels[0].isValid(): exact;
            hdr.either.isValid(): exact;
            hdr.kind.index: exact;
        }
        actions = { push; push_three; pop; pop_all; pop_two; copy; NoAction; }
        default_action = push();
    }
    table second {
        key = {
            hdr.either.byte.isValid(): exact;
            hdr.either.short.value: exact;
            standard.parser_error: exact;
        }
        actions = { to_byte; to_long; none; mark; NoAction; }
        default_action = mark(3);
    }
    apply {
        first.apply();
        second.apply();
        standard.egress_spec = 1;
        if (standard.parser_error != error.NoError) {
            standard.egress_spec = 2;
        }
        if (standard.parser_error == error.TooMany || standard.parser_error == error.StackOutOfBounds) {
            hdr.kind.what = 77;
        }
        if (hdr.labels[3].isValid() && hdr.labels[3].label[19:10] == hdr.labels[0].label[9:0]) {
            hdr.kind.index = 99;
        }
    }
}

control StacksEgress(inout headers hdr, inout metadata meta, inout standard_metadata_t standard) {
    apply { }
}

control StacksUpdate(inout headers hdr, inout metadata meta) {
    apply { }
}

control StacksDeparser(packet_out packet, in headers hdr) {
    apply {
        packet.emit(hdr.kind);
        packet.emit(hdr.labels);
        packet.emit(hdr.either);
        packet.emit(hdr.shorts);
        packet.emit(hdr.tail);
    }
}

V1Switch(StacksParser(), StacksVerify(), StacksIngress(), StacksEgress(), StacksUpdate(), StacksDeparser()) main;
