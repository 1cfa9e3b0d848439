// SPDX-License-Identifier: Apache-2.0
// DPDK's pipeline sends no digests: the verdict's counter is all that the controller learns of a pretender.
#ifndef SPOOF_DIGEST_P4
#define SPOOF_DIGEST_P4

control SpoofDigest(in headers_t hdr, inout metadata_t meta) {
    apply { }
}

#endif
