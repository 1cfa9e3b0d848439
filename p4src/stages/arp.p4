// SPDX-License-Identifier: Apache-2.0
// Answers ARP requests for the few addresses that exist, out of the port they came in by, so that no broadcast crosses
// a VNIC. Each end learns of the other end only: a guest that asks for another guest's address gets no answer.
#ifndef ARP_P4
#define ARP_P4

control Arp(inout headers_t hdr, inout metadata_t meta) {
    role_t     answers_to;
    mac_addr_t answer_mac;

    ENTRY_COUNTER(".arp_counter", arp_counter)

    @name(".answer_hypervisor")
    action answer_hypervisor(mac_addr_t mac) {
        COUNT_ENTRY(arp_counter)
        answers_to = role_t.HYPERVISOR;
        answer_mac = mac;
    }

    @name(".answer_guest")
    action answer_guest(mac_addr_t mac) {
        COUNT_ENTRY(arp_counter)
        answers_to = role_t.GUEST;
        answer_mac = mac;
    }

    @name(".arp_unknown")
    action arp_unknown() {
        COUNT_ENTRY(arp_counter)
        answers_to = role_t.NOBODY;
        answer_mac = 0;
    }

    @name(".arp")
    table arp {
        key = {
            meta.identifier   : exact @name(IDENTIFIER);
            hdr.arp.target_ip : exact @name("target_ip");
        }
        actions = { answer_hypervisor; answer_guest; @defaultonly arp_unknown; }
        const default_action = arp_unknown();
        size = PER_VIF_SIZE;
        ENTRIES_COUNTED_BY(arp_counter)
    }

    apply {
        if (meta.verdict == verdict_t.UNDECIDED && hdr.arp.isValid()) {
            arp.apply();
            if (answers_to == meta.role) {
                ipv4_addr_t asked_for = hdr.arp.target_ip;
                hdr.ethernet.dst_addr = hdr.ethernet.src_addr;
                hdr.ethernet.src_addr = answer_mac;
                hdr.arp.operation = ARP_REPLY;
                hdr.arp.target_mac = hdr.arp.sender_mac;
                hdr.arp.target_ip = hdr.arp.sender_ip;
                hdr.arp.sender_mac = answer_mac;
                hdr.arp.sender_ip = asked_for;
                meta.out_port = meta.in_port;
                meta.verdict = verdict_t.ARP_ANSWERED;
            } else {
                meta.verdict = verdict_t.ARP_UNKNOWN;
            }
        }
    }
}

#endif
