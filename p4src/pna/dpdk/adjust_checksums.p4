// SPDX-License-Identifier: Apache-2.0
// In the place of stages/adjust_checksums.p4, the same sum in steps: p4c-dpdk (1.2.5.16) miscompiles a statement that reads a
// computed value twice, as a fold in slices does. After an `if` a value counts as read, not as computed.
#ifndef ADJUST_CHECKSUMS_P4
#define ADJUST_CHECKSUMS_P4

control Adjust(inout bit<16> checksum, in bit<32> difference) {
    bit<32> sum;

    apply {
        sum = (bit<32>)(~checksum) + difference;
        if (sum > 0xffff) {
            sum = sum - 0xffff;
        }
        sum = (sum & 0xffff) + (sum >> 16);
        if (sum > 0xffff) {
            sum = sum - 0xffff;
        }
        checksum = ~sum[15:0];
    }
}

control AdjustChecksums(inout headers_t hdr, inout metadata_t meta, in ipv4_addr_t before, in ipv4_addr_t after) {
    Adjust() adjust;
    bit<32>  difference;

    apply {
        difference = (bit<32>)(~before[31:16]) + (bit<32>)(~before[15:0])
                   + (bit<32>)after[31:16] + (bit<32>)after[15:0];
        adjust.apply(hdr.ipv4.checksum, difference);
        if (hdr.tcp.isValid()) {
            adjust.apply(hdr.tcp.checksum, difference);
        } else if (hdr.udp.isValid() && hdr.udp.checksum != 0) {
            // RFC 768: zero says "no checksum", so a checksum that comes out as zero is sent as all ones.
            adjust.apply(hdr.udp.checksum, difference);
            if (hdr.udp.checksum == 0) {
                hdr.udp.checksum = 0xffff;
            }
        }
    }
}

#endif
