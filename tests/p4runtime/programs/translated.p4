// SPDX-License-Identifier: Apache-2.0
// Types that the controller sees otherwise than the data plane: ports as 32 bit numbers, networks as strings.
// Compiled by: p4c-bm2-ss --std p4-16 translated.p4 -o translated.json --p4runtime-files translated.p4info.txtpb
#include <core.p4>
#include <v1model.p4>

@p4runtime_translation("example.org/port", 32)
type bit<9> port_t;

@p4runtime_translation("example.org/port", 32)
type bit<16> header_port_t;

@p4runtime_translation("example.org/network", string)
type bit<12> network_t;

@controller_header("packet_in")
header packet_in_t {
    header_port_t ingress_port;
}

@controller_header("packet_out")
header packet_out_t {
    header_port_t egress_port;
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
    port_t    port;
    network_t network;
}

const bit<9> CPU_PORT = 510;

parser start_parser(packet_in packet, out headers_t hdr, inout meta_t meta, inout standard_metadata_t std) {
    state start {
        meta.port = (port_t) std.ingress_port;
        transition select(std.ingress_port) {
            CPU_PORT: parse_packet_out;
            default: parse_ethernet;
        }
    }
    state parse_packet_out {
        packet.extract(hdr.packet_out);
        transition parse_ethernet;
    }
    state parse_ethernet {
        packet.extract(hdr.ethernet);
        transition accept;
    }
}

control no_checksum(inout headers_t hdr, inout meta_t meta) { apply {} }

control ingress(inout headers_t hdr, inout meta_t meta, inout standard_metadata_t std) {
    action drop() { mark_to_drop(std); }
    action join_network(network_t network) { meta.network = network; }
    action to_port(port_t port) { std.egress_spec = (bit<9>) port; }
    action to_controller() {
        hdr.packet_in.setValid();
        hdr.packet_in.ingress_port = (header_port_t) (bit<16>) std.ingress_port;
        std.egress_spec = CPU_PORT;
    }

    table network_table {
        key = { meta.port: exact @name("port"); }
        actions = { join_network; drop; }
        const default_action = drop();
        size = 64;
    }
    table forward_table {
        key = {
            meta.network:     exact   @name("network");
            hdr.ethernet.dst: exact   @name("dst");
            meta.port:        ternary @name("port");
        }
        actions = { to_port; to_controller; drop; }
        const default_action = drop();
        size = 64;
    }
    apply {
        if (hdr.packet_out.isValid()) {
            std.egress_spec = (bit<9>) (bit<16>) hdr.packet_out.egress_port;
            hdr.packet_out.setInvalid();
        } else {
            network_table.apply();
            forward_table.apply();
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
