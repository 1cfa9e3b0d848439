// SPDX-License-Identifier: Apache-2.0
// What a guest sends comes from the CIP, as every guest's does; from here on it comes from the VIF's own LIP.
#ifndef RESTORE_P4
#define RESTORE_P4

control Restore(inout headers_t hdr, inout metadata_t meta) {
    ipv4_addr_t cip;
    AdjustChecksums() adjust_checksums;

    ENTRY_COUNTER(".restore_counter", restore_counter)

    @name(".to_lip")
    action to_lip(ipv4_addr_t lip) {
        COUNT_ENTRY(restore_counter)
        hdr.ipv4.src_addr = lip;
    }

    @name(".unrestored")
    action unrestored() {
        COUNT_ENTRY(restore_counter)
        meta.verdict = verdict_t.UNRESTORED;
    }

    @name(".restore")
    table restore {
        key = {
            meta.in_port      : exact @name("in_port");
            meta.identifier   : exact @name(IDENTIFIER);
            hdr.ipv4.src_addr : exact @name("src_ip");
        }
        actions = { to_lip; @defaultonly unrestored; }
        const default_action = unrestored();
        size = MAX_VIFS;
        ENTRIES_COUNTED_BY(restore_counter)
    }

    apply {
        if (meta.verdict == verdict_t.UNDECIDED && meta.role == role_t.GUEST) {
            cip = hdr.ipv4.src_addr;
            if (restore.apply().hit) {
                adjust_checksums.apply(hdr, meta, cip, hdr.ipv4.src_addr);
            }
        }
    }
}

#endif
