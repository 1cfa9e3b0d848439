// SPDX-License-Identifier: Apache-2.0
// A report as a digest, in v1model's words.
#ifndef SPOOF_DIGEST_P4
#define SPOOF_DIGEST_P4

control SpoofDigest(in headers_t hdr, inout metadata_t meta) {
    apply {
        digest<spoof_digest_t>(1, {meta.in_port, meta.identifier, meta.vlan_id, hdr.ethernet.src_addr, meta.src_ip});
    }
}

#endif
