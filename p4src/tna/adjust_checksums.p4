// SPDX-License-Identifier: Apache-2.0
// In the place of stages/adjust_checksums.p4: asks the deparser's checksum engine, which has the parser's residuals.
#ifndef ADJUST_CHECKSUMS_P4
#define ADJUST_CHECKSUMS_P4

control AdjustChecksums(inout headers_t hdr, inout metadata_t meta, in ipv4_addr_t before, in ipv4_addr_t after) {
    apply {
        meta.adjusts_ipv4 = 1;
        if (hdr.tcp.isValid()) {
            meta.adjusts_tcp = 1;
        } else if (hdr.udp.isValid() && hdr.udp.checksum != 0) {
            meta.adjusts_udp = 1; // RFC 768: zero says "no checksum"
        }
    }
}

#endif
