// SPDX-License-Identifier: Apache-2.0
// The port that was decided for must be configured to pass the identifier, and must lead to the other end: a guest
// reaches the hypervisor's port only, never another guest's.
#ifndef MEMBER_P4
#define MEMBER_P4

control Member(inout metadata_t meta) {
    ENTRY_COUNTER(".member_counter", member_counter)

    @name(".member_hypervisor")
    action member_hypervisor() {
        COUNT_ENTRY(member_counter)
        meta.out_role = role_t.HYPERVISOR;
    }

    @name(".member_guest")
    action member_guest() {
        COUNT_ENTRY(member_counter)
        meta.out_role = role_t.GUEST;
    }

    @name(".not_member")
    action not_member() {
        COUNT_ENTRY(member_counter)
        meta.verdict = verdict_t.NOT_MEMBER;
    }

    @name(".member")
    table member {
        key = {
            meta.out_port   : exact @name("port");
            meta.identifier : exact @name(IDENTIFIER);
        }
        actions = { member_hypervisor; member_guest; @defaultonly not_member; }
        const default_action = not_member();
        size = PER_VIF_SIZE;
        ENTRIES_COUNTED_BY(member_counter)
    }

    apply {
        if (meta.verdict == verdict_t.UNDECIDED || meta.verdict == verdict_t.ARP_ANSWERED) {
            member.apply();
            // An ARP answer goes back to the end that asked; everything else goes to the other end.
            if (meta.verdict == verdict_t.UNDECIDED && meta.out_role == meta.role) {
                if (meta.role == role_t.GUEST) {
                    meta.verdict = verdict_t.GUEST_TO_GUEST;
                } else {
                    meta.verdict = verdict_t.HAIRPIN;
                }
            }
        }
    }
}

#endif
