// SPDX-License-Identifier: Apache-2.0
// Reports to the controller who pretended to be what on which port. The identifier is 0 where the tag itself was the
// pretence. How a report travels is the architecture's (its spoof_digest.p4).
#ifndef REPORT_P4
#define REPORT_P4

control Report(in headers_t hdr, inout metadata_t meta) {
    SpoofDigest() spoof_digest;

    apply {
        if (meta.verdict == verdict_t.SPOOFED || (meta.verdict == verdict_t.UNATTACHED && meta.tagged == 1)) {
            spoof_digest.apply(hdr, meta);
        }
    }
}

#endif
