// SPDX-License-Identifier: Apache-2.0
// The host vSwitch on TNA. Read the ingress and egress controls below as the journey of one packet.
#include <arch.p4>
#include <host_stages.p4>
#include <egress_parser.p4>
#include <frame.p4>
#include <dispatch.p4>

control HostIngress(inout headers_t hdr,
                    inout metadata_t meta,
                    in ingress_intrinsic_metadata_t ig_md,
                    in ingress_intrinsic_metadata_from_parser_t ig_prsr_md,
                    inout ingress_intrinsic_metadata_for_deparser_t ig_dprsr_md,
                    inout ingress_intrinsic_metadata_for_tm_t ig_tm_md) {
    Attachment()      attachment;
    Validate()        validate;
    SourceGuard()     source_guard;
    Report()          report;
    Arp()             arp;
    ConnectionGuard() connection_guard;
    Restore()         restore;
    Forward()         forward;
    Member()          member;
    Verdict()         verdict;
    Dispatch()        dispatch;

    apply {
        if (ig_prsr_md.parser_err != PARSER_ERROR_OK) {
            meta.malformed = true;
        }
        attachment.apply(hdr, meta);       // port, tag -> VNI, the first identifier
        validate.apply(hdr, meta);
        source_guard.apply(hdr, meta);
        report.apply(hdr, meta);           // who pretended to be what
        arp.apply(hdr, meta);              // answered here, or dropped here
        connection_guard.apply(hdr, meta);
        restore.apply(hdr, meta);          // from a guest: CIP -> LIP
        forward.apply(hdr, meta);          // VNI, MAC, IP -> port
        member.apply(meta);                // does the port pass the VNI?
        verdict.apply(meta);
        dispatch.apply(hdr, meta, ig_dprsr_md, ig_tm_md);
    }
}

control HostEgress(inout headers_t hdr,
                   inout metadata_t meta,
                   in egress_intrinsic_metadata_t eg_md,
                   in egress_intrinsic_metadata_from_parser_t eg_prsr_md,
                   inout egress_intrinsic_metadata_for_deparser_t eg_dprsr_md,
                   inout egress_intrinsic_metadata_for_output_port_t eg_oport_md) {
    Tag()           tag;
    Translate()     translate;
    EgressVerdict() egress_verdict;

    apply {
        hdr.bridge.setInvalid();
        tag.apply(hdr, meta);              // VNI -> VLAN id, the second identifier
        translate.apply(hdr, meta);        // to a guest: LIP -> CIP
        egress_verdict.apply(meta);
        if (meta.verdict == verdict_t.UNTAGGABLE || meta.verdict == verdict_t.UNTRANSLATED) {
            eg_dprsr_md.drop_ctl = 1;
        }
    }
}

Pipeline(SwitchIngressParser(),
         HostIngress(),
         SwitchIngressDeparser(),
         SwitchEgressParser(),
         HostEgress(),
         SwitchEgressDeparser()) pipe;

Switch(pipe) main;
