// SPDX-License-Identifier: Apache-2.0
// Lets through what the stages after it understand: whole IPv4 datagrams without options, and ARP requests.
#ifndef VALIDATE_P4
#define VALIDATE_P4

control Validate(in headers_t hdr, inout metadata_t meta) {
    apply {
        if (meta.verdict == verdict_t.UNDECIDED) {
            if (meta.malformed) {
                meta.verdict = verdict_t.MALFORMED;
            } else if (hdr.ipv4.isValid()) {
                if (hdr.ipv4.version != 4 || hdr.ipv4.ihl != 5
                    || hdr.ipv4.more_fragments != 0 || hdr.ipv4.fragment_offset != 0) {
                    meta.verdict = verdict_t.MALFORMED;
                }
            } else if (hdr.arp.isValid()) {
                if (hdr.arp.hardware_type != 1 || hdr.arp.protocol_type != ETHER_TYPE_IPV4
                    || hdr.arp.hardware_length != 6 || hdr.arp.protocol_length != 4
                    || hdr.arp.operation != ARP_REQUEST) {
                    meta.verdict = verdict_t.MALFORMED;
                }
            } else {
                meta.verdict = verdict_t.ETHER_TYPE;
            }
        }
    }
}

#endif
