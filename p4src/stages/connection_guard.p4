// SPDX-License-Identifier: Apache-2.0
// The hypervisor dials and the guest listens. Of a guest's TCP passes what can belong to a connection that the hypervisor
// began: never a SYN without ACK, and ACK or RST must be set, or else the answers to odd segments (RST from a closed port,
// none from a listener: RFC 9293, 3.10.7) tell the guest who listens. Ports that nobody dials from are reached by nothing:
// UDP has no flags, and on such a port there may be a tunnel's end (VXLAN, 4789). Of ICMP a guest sends echo requests and
// replies alone: an error quotes a datagram that need not be its own, and the hypervisor would heed it for the path to
// another guest (RFC 5927).
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

    @name(".listener")
    action listener() {
        COUNT_ENTRY(connection_guard_counter)
        meta.verdict = verdict_t.LISTENER;
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
            meta.dst_port     : ternary @name("dst_port");
            meta.icmp_type    : ternary @name("icmp_type");
        }
        actions = { permit_protocol; new_connection; listener; @defaultonly refuse_protocol; }
        const default_action = refuse_protocol();
        const entries = {
            (role_t.GUEST, IP_PROTOCOL_TCP, TCP_SYN &&& TCP_SYN_ACK, _, _) : new_connection();
            (role_t.GUEST, IP_PROTOCOL_TCP, 0 &&& TCP_RST_ACK, _, _) : new_connection();
            (role_t.GUEST, IP_PROTOCOL_TCP, _, 0 &&& TCP_LISTENERS_MASK, _) : listener();
            (role_t.GUEST, IP_PROTOCOL_UDP, _, 0 &&& UDP_LISTENERS_MASK, _) : listener();
            (_, IP_PROTOCOL_TCP, _, _, _) : permit_protocol();
            (_, IP_PROTOCOL_UDP, _, _, _) : permit_protocol();
            (role_t.GUEST, IP_PROTOCOL_ICMP, _, _, ICMP_ECHO &&& ICMP_ECHO_MASK) : permit_protocol();
            (role_t.HYPERVISOR, IP_PROTOCOL_ICMP, _, _, _) : permit_protocol();
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
