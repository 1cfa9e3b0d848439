// SPDX-License-Identifier: Apache-2.0
// Counts what became of each packet that came in. Whoever is still undecided here has passed every stage.
#ifndef VERDICT_P4
#define VERDICT_P4

control Verdict(inout metadata_t meta) {
    @name(".verdict_counter") DIRECT_COUNTER(verdict_counter);

    @name(".forwarded")           action forwarded() { COUNT(verdict_counter); }
    @name(".arp_answered")        action arp_answered() { COUNT(verdict_counter); }
    @name(".punted")              action punted() { COUNT(verdict_counter); }
    @name(".drop_unattached")     action drop_unattached() { COUNT(verdict_counter); }
    @name(".drop_policed")        action drop_policed() { COUNT(verdict_counter); }
    @name(".drop_malformed")      action drop_malformed() { COUNT(verdict_counter); }
    @name(".drop_ether_type")     action drop_ether_type() { COUNT(verdict_counter); }
    @name(".drop_spoofed")        action drop_spoofed() { COUNT(verdict_counter); }
    @name(".drop_arp_unknown")    action drop_arp_unknown() { COUNT(verdict_counter); }
    @name(".drop_new_connection") action drop_new_connection() { COUNT(verdict_counter); }
    @name(".drop_protocol")       action drop_protocol() { COUNT(verdict_counter); }
    @name(".drop_unrestored")     action drop_unrestored() { COUNT(verdict_counter); }
    @name(".drop_no_route")       action drop_no_route() { COUNT(verdict_counter); }
    @name(".drop_not_member")     action drop_not_member() { COUNT(verdict_counter); }
    @name(".drop_guest_to_guest") action drop_guest_to_guest() { COUNT(verdict_counter); }
    @name(".drop_hairpin")        action drop_hairpin() { COUNT(verdict_counter); }
    @name(".drop_listener")       action drop_listener() { COUNT(verdict_counter); }

    @name(".verdict")
    table verdict {
        key = {
            meta.verdict : exact @name("verdict");
        }
        actions = {
            forwarded; arp_answered; punted; drop_unattached; drop_policed; drop_malformed; drop_ether_type;
            drop_spoofed; drop_arp_unknown; drop_new_connection; drop_protocol; drop_unrestored; drop_no_route;
            drop_not_member; drop_guest_to_guest; drop_hairpin; drop_listener; @defaultonly NoAction;
        }
        const default_action = NoAction();
        const entries = {
            verdict_t.FORWARDED      : forwarded();
            verdict_t.ARP_ANSWERED   : arp_answered();
            verdict_t.PUNTED         : punted();
            verdict_t.UNATTACHED     : drop_unattached();
            verdict_t.POLICED        : drop_policed();
            verdict_t.MALFORMED      : drop_malformed();
            verdict_t.ETHER_TYPE     : drop_ether_type();
            verdict_t.SPOOFED        : drop_spoofed();
            verdict_t.ARP_UNKNOWN    : drop_arp_unknown();
            verdict_t.NEW_CONNECTION : drop_new_connection();
            verdict_t.PROTOCOL       : drop_protocol();
            verdict_t.UNRESTORED     : drop_unrestored();
            verdict_t.NO_ROUTE       : drop_no_route();
            verdict_t.NOT_MEMBER     : drop_not_member();
            verdict_t.GUEST_TO_GUEST : drop_guest_to_guest();
            verdict_t.HAIRPIN        : drop_hairpin();
            verdict_t.LISTENER       : drop_listener();
        }
        COUNTED_BY(verdict_counter)
    }

    apply {
        if (meta.verdict == verdict_t.UNDECIDED) {
            meta.verdict = verdict_t.FORWARDED;
        }
        verdict.apply();
    }
}

#endif
