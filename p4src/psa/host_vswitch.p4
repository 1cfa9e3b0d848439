// SPDX-License-Identifier: Apache-2.0
// The host vSwitch on PSA. Read the ingress and egress controls below as the journey of one packet.
#include <arch.p4>
#include <host_stages.p4>
#include <egress_parser.p4>
#include <frame.p4>
#include <dispatch.p4>

control HostIngress(inout headers_t hdr,
                    inout metadata_t meta,
                    in psa_ingress_input_metadata_t istd,
                    inout psa_ingress_output_metadata_t ostd) {
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
        meta.malformed = istd.parser_error != error.NoError;
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
        dispatch.apply(hdr, meta, ostd);
    }
}

control HostEgress(inout headers_t hdr,
                   inout metadata_t meta,
                   in psa_egress_input_metadata_t istd,
                   inout psa_egress_output_metadata_t ostd) {
    Tag()           tag;
    Translate()     translate;
    EgressVerdict() egress_verdict;

    apply {
        hdr.bridge.setInvalid();
        if (meta.verdict != verdict_t.PUNTED) {
            tag.apply(hdr, meta);          // VNI -> VLAN id, the second identifier
            translate.apply(hdr, meta);    // to a guest: LIP -> CIP
            egress_verdict.apply(meta);
            if (meta.verdict == verdict_t.UNTAGGABLE || meta.verdict == verdict_t.UNTRANSLATED) {
                egress_drop(ostd);
            }
        }
    }
}

IngressPipeline(SwitchIngressParser(), HostIngress(), SwitchIngressDeparser()) ingress_pipeline;
EgressPipeline(SwitchEgressParser(), HostEgress(), SwitchEgressDeparser()) egress_pipeline;

PSA_Switch(ingress_pipeline, PacketReplicationEngine(), egress_pipeline, BufferingQueueingEngine()) main;
