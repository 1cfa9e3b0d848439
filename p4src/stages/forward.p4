// SPDX-License-Identifier: Apache-2.0
// The decision of claim 1: by identifier, destination MAC and destination IP.
#ifndef FORWARD_P4
#define FORWARD_P4

control Forward(in headers_t hdr, inout metadata_t meta) {
    ENTRY_COUNTER(".forward_counter", forward_counter)

    @name(".to_port")
    action to_port(port_t port) {
        COUNT_ENTRY(forward_counter)
        meta.out_port = port;
    }

    // For the controller, with the reason it gave itself.
    @name(".punt")
    action punt(punt_reason_t reason) {
        COUNT_ENTRY(forward_counter)
        meta.punt_reason = reason;
        meta.verdict = verdict_t.PUNTED;
    }

    @name(".no_route")
    action no_route() {
        COUNT_ENTRY(forward_counter)
        meta.verdict = verdict_t.NO_ROUTE;
    }

    @name(".forward")
    table forward {
        key = {
            meta.identifier       : exact @name(IDENTIFIER);
            hdr.ethernet.dst_addr : exact @name("dst_mac");
            hdr.ipv4.dst_addr     : exact @name("dst_ip");
        }
        actions = { to_port; punt; @defaultonly no_route; }
        const default_action = no_route();
        size = PER_VIF_SIZE;
        ENTRIES_COUNTED_BY(forward_counter)
    }

    apply {
        if (meta.verdict == verdict_t.UNDECIDED) {
            forward.apply();
        }
    }
}

#endif
