// SPDX-License-Identifier: Apache-2.0
// The guest vSwitch on v1model: the host's journey with the second identifier, and without translation, since a guest
// knows no address but the CIP.
#include "arch.p4"
#include "../include/types.p4"
#include "../include/sizes.p4"
#include "../include/second_identifier.p4"
#include "../include/headers.p4"
#include "../include/metadata.p4"
#include "../include/parser.p4"
#include "../stages/attachment.p4"
#include "../stages/validate.p4"
#include "../stages/source_guard.p4"
#include "../stages/arp.p4"
#include "../stages/connection_guard.p4"
#include "../stages/forward.p4"
#include "../stages/member.p4"
#include "../stages/verdict.p4"
#include "../stages/tag.p4"
#include "../stages/egress_verdict.p4"
#include "frame.p4"
#include "dispatch.p4"

// For the controller: who pretended to be what on which port. The identifier is 0 where the tag itself was the pretence.
@name("spoof_digest")
struct spoof_digest_t {
    port_t       port;
    identifier_t vlan;
    vlan_id_t    vlan_id;
    mac_addr_t   src_mac;
    ipv4_addr_t  src_ip;
}

control GuestIngress(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t std_meta) {
    Attachment()      attachment;
    Validate()        validate;
    SourceGuard()     source_guard;
    Arp()             arp;
    ConnectionGuard() connection_guard;
    Forward()         forward;
    Member()          member;
    Verdict()         verdict;
    Dispatch()        dispatch;

    apply {
        meta.malformed = std_meta.parser_error != error.NoError;
        attachment.apply(hdr, meta);       // port, tag -> VLAN id, the second identifier
        validate.apply(hdr, meta);
        source_guard.apply(hdr, meta);
        if (meta.verdict == verdict_t.SPOOFED || (meta.verdict == verdict_t.UNATTACHED && meta.tagged == 1)) {
            digest<spoof_digest_t>(
                1, {meta.in_port, meta.identifier, meta.vlan_id, hdr.ethernet.src_addr, meta.src_ip});
        }
        arp.apply(hdr, meta);              // answered here, or dropped here
        connection_guard.apply(hdr, meta);
        forward.apply(hdr, meta);          // VLAN id, MAC, IP -> port
        member.apply(meta);                // does the port pass the VLAN id?
        verdict.apply(meta);
        dispatch.apply(hdr, meta, std_meta);
    }
}

control GuestEgress(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t std_meta) {
    Tag()           tag;
    EgressVerdict() egress_verdict;

    apply {
        if (std_meta.egress_port != CPU_PORT) {
            tag.apply(hdr, meta);          // towards the VNIC with the tag, towards guestd without
            egress_verdict.apply(meta);
            if (meta.verdict == verdict_t.UNTAGGABLE) {
                mark_to_drop(std_meta);
            }
        }
    }
}

V1Switch(SwitchParser(), NoVerifyChecksum(), GuestIngress(), GuestEgress(), NoComputeChecksum(), SwitchDeparser()) main;
