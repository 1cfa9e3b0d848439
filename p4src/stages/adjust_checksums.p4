// SPDX-License-Identifier: Apache-2.0
// Keeps the IPv4, TCP and UDP checksums right when one IPv4 address changes, by incremental update (RFC 1624, eqn. 3:
// HC' = ~(~HC + ~m + m')) in plain P4. Hardware with a checksum engine puts its own control in this one's place: a file of
// this name in the architecture's folder is found before this one.
#ifndef ADJUST_CHECKSUMS_P4
#define ADJUST_CHECKSUMS_P4

control AdjustChecksums(inout headers_t hdr, inout metadata_t meta, in ipv4_addr_t before, in ipv4_addr_t after) {
    bit<32> difference;

    // Two folds suffice: five 16 bit words add up to less than 5 * 2^16.
    @hidden
    action adjust(inout bit<16> checksum) {
        bit<32> sum = (bit<32>)(~checksum) + difference;
        sum = (bit<32>)sum[15:0] + (bit<32>)sum[31:16];
        sum = (bit<32>)sum[15:0] + (bit<32>)sum[31:16];
        checksum = ~sum[15:0];
    }

    apply {
        difference = (bit<32>)(~before[31:16]) + (bit<32>)(~before[15:0])
                   + (bit<32>)after[31:16] + (bit<32>)after[15:0];
        adjust(hdr.ipv4.checksum);
        if (hdr.tcp.isValid()) {
            adjust(hdr.tcp.checksum);
        } else if (hdr.udp.isValid() && hdr.udp.checksum != 0) {
            // RFC 768: zero says "no checksum", so a checksum that comes out as zero is sent as all ones.
            adjust(hdr.udp.checksum);
            if (hdr.udp.checksum == 0) {
                hdr.udp.checksum = 0xffff;
            }
        }
    }
}

#endif
