// SPDX-License-Identifier: Apache-2.0
// The last step of v1model's ingress: carries out what the stages decided.
#ifndef DISPATCH_P4
#define DISPATCH_P4

control Dispatch(inout headers_t hdr, in metadata_t meta, inout standard_metadata_t std_meta) {
    apply {
        hdr.packet_out.setInvalid();
        if (meta.verdict == verdict_t.FORWARDED || meta.verdict == verdict_t.ARP_ANSWERED) {
            std_meta.egress_spec = meta.out_port;
        } else if (meta.verdict == verdict_t.PUNTED) {
            hdr.packet_in.setValid();
            hdr.packet_in.ingress_port = meta.in_port;
            hdr.packet_in.reason = meta.punt_reason;
            std_meta.egress_spec = CPU_PORT;
        } else {
            mark_to_drop(std_meta);
        }
    }
}

#endif
