// SPDX-License-Identifier: Apache-2.0
// The guest vSwitch decides by the second identifier: the VLAN id of the tag with which the packet came over the VNIC.
#ifndef IDENTIFIER_P4
#define IDENTIFIER_P4

#define IDENTIFIER       "vlan"
#define IDENTIFIER_FIELD vlan
typedef bit<12> identifier_t;

@controller_header("packet_out")
header packet_out_t {
    identifier_t vlan;
    bit<4>       _pad;
}

#endif
