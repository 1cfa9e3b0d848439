// SPDX-License-Identifier: Apache-2.0
// TNA's deparser sends the report (frame.p4); the main gives it the type that says so.
#ifndef SPOOF_DIGEST_P4
#define SPOOF_DIGEST_P4

#define SPOOF_DIGEST_TYPE 1

control SpoofDigest(in headers_t hdr, inout metadata_t meta) {
    apply {
        meta.digest_type = SPOOF_DIGEST_TYPE;
    }
}

#endif
