// SPDX-License-Identifier: Apache-2.0
// The host vSwitch on PNA. Read the control below as the journey of one packet: PNA has one control from port to port.
#include <arch.p4>
#include <host_stages.p4>
#include <frame.p4>
#include <dispatch.p4>

control HostVSwitch(inout headers_t hdr,
                    inout metadata_t meta,
                    in pna_main_input_metadata_t istd,
                    inout pna_main_output_metadata_t ostd) {
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
    Tag()             tag;
    Translate()       translate;
    EgressVerdict()   egress_verdict;
    Dispatch()        dispatch;

    apply {
        meta.in_port = (port_t)istd.input_port;
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
        if (meta.verdict == verdict_t.FORWARDED || meta.verdict == verdict_t.ARP_ANSWERED) {
            tag.apply(hdr, meta);          // VNI -> VLAN id, the second identifier
            translate.apply(hdr, meta);    // to a guest: LIP -> CIP
            egress_verdict.apply(meta);
        }
        dispatch.apply(hdr, meta);
    }
}

PNA_NIC(SwitchParser(), PRE_CONTROL HostVSwitch(), SwitchDeparser()) main;
