// SPDX-License-Identifier: Apache-2.0
// The host vSwitch on v1model. Read the ingress and egress controls below as the journey of one packet.
#include "arch.p4"
#include "../include/types.p4"
#include "../include/sizes.p4"
#include "../include/first_identifier.p4"
#include "../include/headers.p4"
#include "../include/metadata.p4"
#include "../include/parser.p4"
#include "../stages/attachment.p4"
#include "../stages/validate.p4"
#include "../stages/source_guard.p4"
#include "../stages/arp.p4"
#include "../stages/connection_guard.p4"
#include "../stages/adjust_checksums.p4"
#include "../stages/restore.p4"
#include "../stages/forward.p4"
#include "../stages/member.p4"
#include "../stages/verdict.p4"
#include "../stages/tag.p4"
#include "../stages/translate.p4"
#include "../stages/egress_verdict.p4"
#include "frame.p4"
#include "dispatch.p4"

// For the controller: who pretended to be what on which port. The identifier is 0 where the tag itself was the pretence.
@name("spoof_digest")
struct spoof_digest_t {
    port_t       port;
    identifier_t vni;
    vlan_id_t    vlan_id;
    mac_addr_t   src_mac;
    ipv4_addr_t  src_ip;
}

control HostIngress(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t std_meta) {
    Attachment()      attachment;
    Validate()        validate;
    SourceGuard()     source_guard;
    Arp()             arp;
    ConnectionGuard() connection_guard;
    Restore()         restore;
    Forward()         forward;
    Member()          member;
    Verdict()         verdict;
    Dispatch()        dispatch;

    apply {
        meta.malformed = std_meta.parser_error != error.NoError;
        attachment.apply(hdr, meta);       // port, tag -> VNI, the first identifier
        validate.apply(hdr, meta);
        source_guard.apply(hdr, meta);
        if (meta.verdict == verdict_t.SPOOFED || (meta.verdict == verdict_t.UNATTACHED && meta.tagged == 1)) {
            digest<spoof_digest_t>(
                1, {meta.in_port, meta.identifier, meta.vlan_id, hdr.ethernet.src_addr, meta.src_ip});
        }
        arp.apply(hdr, meta);              // answered here, or dropped here
        connection_guard.apply(hdr, meta);
        restore.apply(hdr, meta);          // from a guest: CIP -> LIP
        forward.apply(hdr, meta);          // VNI, MAC, IP -> port
        member.apply(meta);                // does the port pass the VNI?
        verdict.apply(meta);
        dispatch.apply(hdr, meta, std_meta);
    }
}

control HostEgress(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t std_meta) {
    Tag()           tag;
    Translate()     translate;
    EgressVerdict() egress_verdict;

    apply {
        if (std_meta.egress_port != CPU_PORT) {
            tag.apply(hdr, meta);          // VNI -> VLAN id, the second identifier
            translate.apply(hdr, meta);    // to a guest: LIP -> CIP
            egress_verdict.apply(meta);
            if (meta.verdict == verdict_t.UNTAGGABLE || meta.verdict == verdict_t.UNTRANSLATED) {
                mark_to_drop(std_meta);
            }
        }
    }
}

V1Switch(SwitchParser(), NoVerifyChecksum(), HostIngress(), HostEgress(), NoComputeChecksum(), SwitchDeparser()) main;
