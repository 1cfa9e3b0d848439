// SPDX-License-Identifier: Apache-2.0
// The last step of PSA's ingress: carries out what the stages decided, and lays the bridge to the egress.
#ifndef DISPATCH_P4
#define DISPATCH_P4

control Dispatch(inout headers_t hdr, inout metadata_t meta, inout psa_ingress_output_metadata_t ostd) {
    Bridge() bridge;

    apply {
        hdr.packet_out.setInvalid();
        bridge.apply(hdr, meta);
        if (meta.verdict == verdict_t.FORWARDED || meta.verdict == verdict_t.ARP_ANSWERED) {
            send_to_port(ostd, (PortId_t)meta.out_port);
        } else if (meta.verdict == verdict_t.PUNTED) {
            hdr.packet_in.setValid();
            hdr.packet_in.ingress_port = meta.in_port;
            hdr.packet_in.reason = meta.punt_reason;
            send_to_port(ostd, PSA_PORT_CPU);
        } else {
            ingress_drop(ostd);
        }
    }
}

#endif
