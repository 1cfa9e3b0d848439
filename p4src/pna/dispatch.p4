// SPDX-License-Identifier: Apache-2.0
// The last step of PNA's main control: carries out what the stages decided. PNA's send_to_port takes a constant or action
// data, never a field, so the port that the stages found is looked up once more: `transmit` holds one entry per port.
#ifndef DISPATCH_P4
#define DISPATCH_P4

control Dispatch(inout headers_t hdr, in metadata_t meta) {
    @name(".send")
    action send(port_t port) {
        send_to_port((PortId_t)port);
    }

    @name(".no_such_port")
    action no_such_port() {
        drop_packet();
    }

    @name(".transmit")
    table transmit {
        key = {
            meta.out_port : exact @name("port");
        }
        actions = { send; @defaultonly no_such_port; }
        const default_action = no_such_port();
        size = PER_VIF_SIZE;
    }

    apply {
        hdr.packet_out.setInvalid();
        if (meta.verdict == verdict_t.FORWARDED || meta.verdict == verdict_t.ARP_ANSWERED) {
            transmit.apply();
        } else if (meta.verdict == verdict_t.PUNTED) {
            hdr.packet_in.setValid();
            hdr.packet_in.ingress_port = meta.in_port;
            hdr.packet_in.reason = meta.punt_reason;
            send_to_port((PortId_t)CPU_PORT);
        } else {
            drop_packet();
        }
    }
}

#endif
