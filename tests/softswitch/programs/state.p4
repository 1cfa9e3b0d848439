// SPDX-License-Identifier: Apache-2.0
// What outlives a packet, and what is computed over many fields: registers of odd widths, indirect counters and meters
// with indices out of bounds, hashes, checksums that are verified and updated, digests, random numbers, truncation.
#include <core.p4>
#include <v1model.p4>

header ask_t {
    bit<8>  what;
    bit<16> index;
    bit<32> value;
    bit<16> checksum;
}

header tell_t {
    bit<64> first;
    bit<64> second;
    bit<8>  third;
}

header more_t {
    bit<3>  odd;
    bit<13> thirteen;
    bit<24> long;
}

struct headers {
    tell_t tell;
    ask_t  ask;
    more_t more;
}

struct note_t {
    bit<16> index;
    bit<32> value;
    bit<3>  odd;
}

struct metadata {
    bit<2>  colour;
    bit<32> random;
    bit<1>  one;
    bit<65> wide;
    bit<16> sum;
}

parser StateParser(packet_in packet, out headers hdr, inout metadata meta, inout standard_metadata_t standard) {
    state start {
        packet.extract(hdr.ask);
        transition select(hdr.ask.what[7:7]) {
            1: more;
            0: accept;
        }
    }
    state more {
        packet.extract(hdr.more);
        transition accept;
    }
}

control StateVerify(inout headers hdr, inout metadata meta) {
    apply {
        verify_checksum(
            hdr.ask.isValid(), { 8w0, hdr.ask.what, hdr.ask.index, hdr.ask.value, 16w0xabcd }, hdr.ask.checksum, HashAlgorithm.csum16
        );
    }
}

control StateIngress(inout headers hdr, inout metadata meta, inout standard_metadata_t standard) {
    register<bit<1>>(8) bits;
    register<bit<13>>(5) odd;
    register<bit<65>>(4) wide;
    register<bit<32>>(16) words;
    counter(6, CounterType.packets_and_bytes) cells;
    counter(3, CounterType.packets) packets;
    meter(4, MeterType.packets) meters;
    meter(4, MeterType.bytes) octets;

    action registers() {
        bits.read(meta.one, (bit<32>) hdr.ask.index);
        bits.write((bit<32>) hdr.ask.index, ~meta.one);
        odd.read(hdr.more.thirteen, (bit<32>) hdr.ask.index);
        odd.write((bit<32>) hdr.ask.index, hdr.more.thirteen + (bit<13>) hdr.ask.value);
        wide.read(meta.wide, (bit<32>) hdr.ask.index);
        wide.write((bit<32>) hdr.ask.index, meta.wide + 1 + ((bit<65>) hdr.ask.value << 33));
        hdr.tell.first = meta.wide[64:1];
        hdr.tell.third = (bit<8>) meta.one;
        words.write(hdr.ask.value, hdr.ask.value);
        words.read(hdr.ask.value, (bit<32>) hdr.ask.index);
    }
    action counters() {
        cells.count((bit<32>) hdr.ask.index);
        packets.count(hdr.ask.value);
        meters.execute_meter((bit<32>) hdr.ask.index, meta.colour);
        hdr.tell.third = (bit<8>) meta.colour;
        octets.execute_meter(hdr.ask.value, meta.colour);
        hdr.tell.second = (bit<64>) meta.colour;
    }
    action hashes() {
        hash(hdr.tell.first[63:48], HashAlgorithm.crc16, 16w0, { hdr.ask.what, hdr.ask.value, hdr.more.odd }, 32w65536);
        hash(hdr.tell.first[47:16], HashAlgorithm.crc32, 32w5, { hdr.ask.index, hdr.ask.value }, 64w0x100000000);
        hash(hdr.tell.first[15:0], HashAlgorithm.xor16, 16w3, { hdr.ask.what, hdr.ask.value }, 32w1000);
        hash(hdr.tell.second[63:32], HashAlgorithm.identity, 32w0, { hdr.ask.what, hdr.more.odd, hdr.ask.value }, 32w0xffffffff);
        hash(hdr.tell.second[31:16], HashAlgorithm.csum16, 16w0, { hdr.more.odd, hdr.more.long, hdr.ask.value }, 32w0x10000);
        hash(hdr.tell.second[15:0], HashAlgorithm.crc16, hdr.ask.index, { hdr.ask.index }, hdr.ask.value);
    }
    action numbers() {
        random(meta.random, 32w7, 32w9);
        hdr.tell.third = meta.random >= 7 && meta.random <= 9 ? 8w1 : 8w0;
        random(hdr.tell.first[31:0], 32w5, 32w5);
        random(hdr.ask.index, 16w2, 16w1);
    }
    action note() {
        digest<note_t>(1, { hdr.ask.index, hdr.ask.value, hdr.more.odd });
        hdr.ask.value = hdr.ask.value + 1;
    }
    action cut(bit<32> length) {
        truncate(length);
    }
    action cut_twice() {
        truncate((bit<32>) hdr.ask.index);
        truncate(40);
    }
    table choose {
        key = { hdr.ask.what: ternary; }
        actions = { registers; counters; hashes; numbers; note; cut; cut_twice; NoAction; }
        default_action = registers();
        size = 32;
    }
    apply {
        standard.egress_spec = 1;
        hdr.tell.setValid();
        choose.apply();
        if (standard.checksum_error == 1) {
            standard.egress_spec = 2;
        }
        if (standard.packet_length > 100) {
            hdr.tell.third = hdr.tell.third | 0x80;
        }
    }
}

control StateEgress(inout headers hdr, inout metadata meta, inout standard_metadata_t standard) {
    apply {
        hdr.tell.second[40:32] = standard.egress_port;
        meta.sum = (bit<16>) standard.packet_length;
        hdr.tell.second[31:16] = hdr.tell.second[31:16] ^ meta.sum;
    }
}

control StateUpdate(inout headers hdr, inout metadata meta) {
    apply {
        update_checksum(
            hdr.ask.isValid() && hdr.ask.what[0:0] == 1, { hdr.more.odd, 8w0, hdr.ask.what, hdr.ask.index,
            hdr.more.thirteen, 16w3, hdr.ask.value, hdr.more.long }, hdr.ask.checksum, HashAlgorithm.csum16
        );
    }
}

control StateDeparser(packet_out packet, in headers hdr) {
    apply {
        packet.emit(hdr.tell);
        packet.emit(hdr.ask);
        packet.emit(hdr.more);
    }
}

V1Switch(StateParser(), StateVerify(), StateIngress(), StateEgress(), StateUpdate(), StateDeparser()) main;
