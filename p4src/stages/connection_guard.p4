// SPDX-License-Identifier: Apache-2.0
// The hypervisor dials and the guest listens: a SYN without ACK from a guest goes nowhere. Beside TCP, UDP and ICMP pass.
#ifndef CONNECTION_GUARD_P4
#define CONNECTION_GUARD_P4

control ConnectionGuard(in headers_t hdr, inout metadata_t meta) {
    ENTRY_COUNTER(".connection_guard_counter", connection_guard_counter)

    @name(".permit_protocol")
    action permit_protocol() { COUNT_ENTRY(connection_guard_counter) }

    @name(".new_connection")
    action new_connection() {
        COUNT_ENTRY(connection_guard_counter)
        meta.verdict = verdict_t.NEW_CONNECTION;
    }

    @name(".refuse_protocol")
    action refuse_protocol() {
        COUNT_ENTRY(connection_guard_counter)
        meta.verdict = verdict_t.PROTOCOL;
    }

    @name(".connection_guard")
    table connection_guard {
        key = {
            meta.role         : ternary @name("role");
            hdr.ipv4.protocol : exact   @name("protocol");
            meta.tcp_flags    : ternary @name("tcp_flags");
        }
        actions = { permit_protocol; new_connection; @defaultonly refuse_protocol; }
        const default_action = refuse_protocol();
        const entries = {
            (role_t.GUEST, IP_PROTOCOL_TCP, TCP_SYN &&& TCP_SYN_ACK) : new_connection();
            (_, IP_PROTOCOL_TCP,  _) : permit_protocol();
            (_, IP_PROTOCOL_UDP,  _) : permit_protocol();
            (_, IP_PROTOCOL_ICMP, _) : permit_protocol();
        }
        ENTRIES_COUNTED_BY(connection_guard_counter)
    }

    apply {
        if (meta.verdict == verdict_t.UNDECIDED) {
            connection_guard.apply();
        }
    }
}

#endif
