// SPDX-License-Identifier: Apache-2.0
// The host vSwitch decides by the first identifier: the VNI, the logical switch's 24 bit id. It lives in metadata
// and never on the wire.
#ifndef IDENTIFIER_P4
#define IDENTIFIER_P4

#define IDENTIFIER       "vni"
#define IDENTIFIER_FIELD vni
typedef bit<24> identifier_t;

// A packet that the controller sends carries the first identifier literally.
@controller_header("packet_out")
header packet_out_t {
    identifier_t vni;
}

#endif
