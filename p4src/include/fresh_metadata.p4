// SPDX-License-Identifier: Apache-2.0
// What the stages count on where an architecture does not promise that metadata begins as zero (PNA, PSA).
#ifndef FRESH_METADATA_P4
#define FRESH_METADATA_P4

parser FreshMetadata(inout metadata_t meta) {
    state start {
        meta.out_port = 0;
        meta.role = role_t.NOBODY;
        meta.out_role = role_t.NOBODY;
        meta.tagged = 0;
        meta.vlan_id = 0;
        meta.src_ip = 0;
        meta.tcp_flags = 0;
        meta.dst_port = 0;
        meta.icmp_type = 0;
        meta.verdict = verdict_t.UNDECIDED;
        transition accept;
    }
}

#endif
