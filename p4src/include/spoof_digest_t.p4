// SPDX-License-Identifier: Apache-2.0
// What the controller hears of a pretender.
#ifndef SPOOF_DIGEST_T_P4
#define SPOOF_DIGEST_T_P4

@name("spoof_digest")
struct spoof_digest_t {
    port_t       port;
    identifier_t IDENTIFIER_FIELD;
    vlan_id_t    vlan_id;
    mac_addr_t   src_mac;
    ipv4_addr_t  src_ip;
}

#endif
