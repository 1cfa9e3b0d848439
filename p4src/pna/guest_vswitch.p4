// SPDX-License-Identifier: Apache-2.0
// The guest vSwitch on PNA: the host's journey with the second identifier, and without translation, since a guest knows
// no address but the CIP.
#include <arch.p4>
#include <guest_stages.p4>
#include <frame.p4>
#include <dispatch.p4>

control GuestVSwitch(inout headers_t hdr,
                    inout metadata_t meta,
                    in pna_main_input_metadata_t istd,
                    inout pna_main_output_metadata_t ostd) {
    Attachment()      attachment;
    Validate()        validate;
    SourceGuard()     source_guard;
    Report()          report;
    Arp()             arp;
    ConnectionGuard() connection_guard;
    Forward()         forward;
    Member()          member;
    Verdict()         verdict;
    Tag()             tag;
    EgressVerdict()   egress_verdict;
    Dispatch()        dispatch;

    apply {
        meta.in_port = (port_t)istd.input_port;
        meta.malformed = istd.parser_error != error.NoError;
        attachment.apply(hdr, meta);       // port, tag -> VLAN id, the second identifier
        validate.apply(hdr, meta);
        source_guard.apply(hdr, meta);
        report.apply(hdr, meta);           // who pretended to be what
        arp.apply(hdr, meta);              // answered here, or dropped here
        connection_guard.apply(hdr, meta);
        forward.apply(hdr, meta);          // VLAN id, MAC, IP -> port
        member.apply(meta);                // does the port pass the VLAN id?
        verdict.apply(meta);
        if (meta.verdict == verdict_t.FORWARDED || meta.verdict == verdict_t.ARP_ANSWERED) {
            tag.apply(hdr, meta);          // towards the VNIC with the tag, towards guestd without
            egress_verdict.apply(meta);
        }
        dispatch.apply(hdr, meta);
    }
}

PNA_NIC(SwitchParser(), PRE_CONTROL GuestVSwitch(), SwitchDeparser()) main;
