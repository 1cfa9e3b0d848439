// SPDX-License-Identifier: Apache-2.0
// The last step of TNA's ingress: carries out what the stages decided. What the controller gets skips egress; what goes
// there finds in the bridge what the stages found.
#ifndef DISPATCH_P4
#define DISPATCH_P4

control Dispatch(inout headers_t hdr,
                 inout metadata_t meta,
                 inout ingress_intrinsic_metadata_for_deparser_t ig_dprsr_md,
                 inout ingress_intrinsic_metadata_for_tm_t ig_tm_md) {
    Bridge() bridge;

    apply {
        hdr.packet_out.setInvalid();
        ig_dprsr_md.digest_type = meta.digest_type;
        if (meta.verdict == verdict_t.FORWARDED || meta.verdict == verdict_t.ARP_ANSWERED) {
            bridge.apply(hdr, meta);
            ig_tm_md.ucast_egress_port = meta.out_port;
        } else if (meta.verdict == verdict_t.PUNTED) {
            hdr.packet_in.setValid();
            hdr.packet_in.ingress_port = meta.in_port;
            hdr.packet_in.reason = meta.punt_reason;
            ig_tm_md.ucast_egress_port = CPU_PORT;
            ig_tm_md.bypass_egress = 1;
        } else {
            ig_dprsr_md.drop_ctl = 1;
        }
    }
}

#endif
