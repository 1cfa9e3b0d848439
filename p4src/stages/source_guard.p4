// SPDX-License-Identifier: Apache-2.0
// A port's sender is who its attachment says it is, in the Ethernet header, in IPv4 and in ARP.
#ifndef SOURCE_GUARD_P4
#define SOURCE_GUARD_P4

control SourceGuard(in headers_t hdr, inout metadata_t meta) {
    ENTRY_COUNTER(".source_guard_counter", source_guard_counter)

    @name(".permit_source")
    action permit_source() { COUNT_ENTRY(source_guard_counter) }

    @name(".spoofed")
    action spoofed() {
        COUNT_ENTRY(source_guard_counter)
        meta.verdict = verdict_t.SPOOFED;
    }

    @name(".source_guard")
    table source_guard {
        key = {
            meta.in_port          : exact @name("in_port");
            meta.identifier       : exact @name(IDENTIFIER);
            hdr.ethernet.src_addr : exact @name("src_mac");
            meta.src_ip           : exact @name("src_ip");
        }
        actions = { permit_source; @defaultonly spoofed; }
        const default_action = spoofed();
        size = PER_VIF_SIZE;
        ENTRIES_COUNTED_BY(source_guard_counter)
    }

    apply {
        if (meta.verdict == verdict_t.UNDECIDED) {
            if (hdr.arp.isValid() && hdr.arp.sender_mac != hdr.ethernet.src_addr) {
                meta.verdict = verdict_t.SPOOFED;
            } else {
                source_guard.apply();
            }
        }
    }
}

#endif
