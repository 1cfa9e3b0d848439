// SPDX-License-Identifier: Apache-2.0
// Towards a guest the VIF's LIP, the first destination IP, becomes the CIP, the second: one and the same in every guest.
#ifndef TRANSLATE_P4
#define TRANSLATE_P4

control Translate(inout headers_t hdr, inout metadata_t meta) {
    ipv4_addr_t lip;
    AdjustChecksums() adjust_checksums;

    ENTRY_COUNTER(".translate_counter", translate_counter)

    @name(".to_cip")
    action to_cip(ipv4_addr_t cip) {
        COUNT_ENTRY(translate_counter)
        hdr.ipv4.dst_addr = cip;
    }

    @name(".untranslated")
    action untranslated() {
        COUNT_ENTRY(translate_counter)
        meta.verdict = verdict_t.UNTRANSLATED;
    }

    @name(".translate")
    table translate {
        key = {
            meta.out_port     : exact @name("port");
            meta.identifier   : exact @name(IDENTIFIER);
            hdr.ipv4.dst_addr : exact @name("dst_ip");
        }
        actions = { to_cip; @defaultonly untranslated; }
        const default_action = untranslated();
        size = MAX_VIFS;
        ENTRIES_COUNTED_BY(translate_counter)
    }

    apply {
        if (meta.verdict == verdict_t.FORWARDED && meta.out_role == role_t.GUEST) {
            lip = hdr.ipv4.dst_addr;
            if (translate.apply().hit) {
                adjust_checksums.apply(hdr, meta, lip, hdr.ipv4.dst_addr);
            }
        }
    }
}

#endif
