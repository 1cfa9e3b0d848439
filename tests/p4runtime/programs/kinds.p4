// SPDX-License-Identifier: Apache-2.0
// Every kind of table, key, counter and meter that P4Runtime can speak of, one small table each.
// Compiled by: p4c-bm2-ss --std p4-16 kinds.p4 -o kinds.json --p4runtime-files kinds.p4info.txtpb
#include <core.p4>
#include <v1model.p4>

@controller_header("packet_in")
header packet_in_t {
    bit<9> ingress_port;
    bit<7> reason;
}

@controller_header("packet_out")
header packet_out_t {
    bit<9>  egress_port;
    bit<7>  pad;
    bit<24> tag;
}

header ethernet_t {
    bit<48> dst;
    bit<48> src;
    bit<16> ether_type;
}

struct headers_t {
    packet_in_t  packet_in;
    packet_out_t packet_out;
    ethernet_t   ethernet;
}

struct meta_t {
    bit<2>  color;
    bit<24> tag;
}

struct seen_t {
    bit<9>  port;
    bit<48> src;
    bool    known;
}

const bit<9> CPU_PORT = 510;

parser start_parser(packet_in packet, out headers_t hdr, inout meta_t meta, inout standard_metadata_t std) {
    state start {
        transition select(std.ingress_port) {
            CPU_PORT: parse_packet_out;
            default: parse_ethernet;
        }
    }
    state parse_packet_out {
        packet.extract(hdr.packet_out);
        meta.tag = hdr.packet_out.tag;
        transition parse_ethernet;
    }
    state parse_ethernet {
        packet.extract(hdr.ethernet);
        transition accept;
    }
}

control no_checksum(inout headers_t hdr, inout meta_t meta) { apply {} }

control ingress(inout headers_t hdr, inout meta_t meta, inout standard_metadata_t std) {
    direct_counter(CounterType.packets_and_bytes) exact_counter;
    direct_meter<bit<2>>(MeterType.bytes) exact_meter;
    counter(8, CounterType.packets_and_bytes) port_counter;
    meter(4, MeterType.packets) port_meter;

    action drop() { mark_to_drop(std); }
    action to_port(bit<9> port) { std.egress_spec = port; }
    action to_controller(bit<7> reason) {
        hdr.packet_in.setValid();
        hdr.packet_in.ingress_port = std.ingress_port;
        hdr.packet_in.reason = reason;
        std.egress_spec = CPU_PORT;
    }
    action rewrite(bit<48> dst, bit<9> port) { hdr.ethernet.dst = dst; std.egress_spec = port; }

    table exact_table {
        key = { hdr.ethernet.dst: exact @name("dst"); std.ingress_port: exact @name("port"); }
        actions = { to_port; to_controller; rewrite; @tableonly drop; @defaultonly NoAction; }
        default_action = NoAction();
        counters = exact_counter;
        meters = exact_meter;
        size = 16;
    }
    table lpm_table {
        key = { hdr.ethernet.src: lpm @name("src"); }
        actions = { to_port; drop; @defaultonly NoAction; }
        default_action = NoAction();
        size = 1024;
    }
    table ternary_table {
        key = {
            hdr.ethernet.dst: ternary @name("dst");
            hdr.ethernet.ether_type: range @name("ether_type");
            std.ingress_port: optional @name("port");
        }
        actions = { to_port; drop; }
        const default_action = drop();
        size = 1024;
    }
    table const_table {
        key = { hdr.ethernet.ether_type: exact @name("ether_type"); }
        actions = { to_port; NoAction; }
        default_action = NoAction();
        const entries = { 0x0800: to_port(3); 0x86dd: to_port(4); }
    }
    table keyless_table {
        actions = { to_port; NoAction; }
        default_action = NoAction();
    }
    apply {
        if (hdr.packet_out.isValid()) {
            std.egress_spec = hdr.packet_out.egress_port;
            hdr.packet_out.setInvalid();
        } else {
            port_counter.count((bit<32>) (bit<3>) std.ingress_port);
            port_meter.execute_meter((bit<32>) (bit<2>) std.ingress_port, meta.color);
            if (exact_table.apply().hit) {
                exact_meter.read(meta.color);
            } else {
                digest<seen_t>(1, { std.ingress_port, hdr.ethernet.src, std.ingress_port == 1 });
                lpm_table.apply();
                ternary_table.apply();
                const_table.apply();
                keyless_table.apply();
            }
        }
    }
}

control egress(inout headers_t hdr, inout meta_t meta, inout standard_metadata_t std) { apply {} }

control deparser(packet_out packet, in headers_t hdr) {
    apply {
        packet.emit(hdr.packet_in);
        packet.emit(hdr.ethernet);
    }
}

V1Switch(start_parser(), no_checksum(), ingress(), egress(), no_checksum(), deparser()) main;
