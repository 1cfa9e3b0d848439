// SPDX-License-Identifier: Apache-2.0
// A PNA program for the tests: one table chooses among everything that a program for bmv2's PNA can do with a packet.
#include <core.p4>
#include <bmv2/pna.p4>

header tag_t {
    bit<8>  kind;
    bit<8>  color;
    bit<16> seen;
}

struct headers_t {
    tag_t tag;
}

struct report_t {
    bit<32> port;
    bit<8>  kind;
}

struct metadata_t {
    bit<32>          port;
    PNA_MeterColor_t color;
}

parser NicParser(packet_in packet,
                 out headers_t hdr,
                 inout metadata_t meta,
                 in pna_main_parser_input_metadata_t istd) {
    state start {
        meta.port = (bit<32>)istd.input_port;
        packet.extract(hdr.tag);
        transition accept;
    }
}

control NicControl(inout headers_t hdr,
                   inout metadata_t meta,
                   in pna_main_input_metadata_t istd,
                   inout pna_main_output_metadata_t ostd) {
    DirectCounter<bit<64>>(PNA_CounterType_t.PACKETS_AND_BYTES) chosen;
    Meter<bit<32>>(8, PNA_MeterType_t.BYTES) limit;
    Digest<report_t>() reports;

    action forward(bit<32> port) {
        chosen.count();
        send_to_port((PortId_t)port);
    }

    action think_again(bit<32> port) {
        chosen.count();
        send_to_port((PortId_t)port);
        drop_packet();
    }

    action reconsider(bit<32> port) {
        chosen.count();
        drop_packet();
        send_to_port((PortId_t)port);
    }

    action to_controller() {
        chosen.count();
        send_to_port((PortId_t)(bit<32>)PNA_PORT_CPU);
    }

    action police(bit<32> port) {
        chosen.count();
        meta.color = limit.execute(meta.port);
        send_to_port((PortId_t)port);
    }

    action keep() {
        chosen.count();
    }

    table choose {
        key = {
            hdr.tag.kind : exact @name("kind");
        }
        actions = { forward; think_again; reconsider; to_controller; police; keep; }
        const default_action = keep();
        pna_direct_counter = chosen;
        size = 16;
    }

    apply {
        if (istd.parser_error != error.NoError) {
            reports.pack({meta.port, 255});
        } else {
            meta.color = PNA_MeterColor_t.YELLOW;
            choose.apply();
            hdr.tag.seen = (bit<16>)(bit<32>)istd.input_port;
            if (meta.color == PNA_MeterColor_t.RED) {
                hdr.tag.color = 1;
            } else if (meta.color == PNA_MeterColor_t.GREEN) {
                hdr.tag.color = 2;
            } else {
                hdr.tag.color = 3;
            }
        }
    }
}

control NicDeparser(packet_out packet,
                    inout headers_t hdr,
                    in metadata_t meta,
                    in pna_main_output_metadata_t ostd) {
    apply {
        packet.emit(hdr.tag);
    }
}

PNA_NIC(NicParser(), NicControl(), NicDeparser()) main;
