// SPDX-License-Identifier: Apache-2.0
// What the guest vSwitch is made of in every architecture: the host's, with the second identifier, and without
// translation, since a guest knows no address but the CIP.
#ifndef GUEST_STAGES_P4
#define GUEST_STAGES_P4

#include <types.p4>
#include <sizes.p4>
#include <second_identifier.p4>
#include <headers.p4>
#include <metadata.p4>
#include <parser.p4>
#include <spoof_digest_t.p4>
#include <spoof_digest.p4>
#include <attachment.p4>
#include <validate.p4>
#include <source_guard.p4>
#include <report.p4>
#include <arp.p4>
#include <connection_guard.p4>
#include <forward.p4>
#include <member.p4>
#include <verdict.p4>
#include <tag.p4>
#include <egress_verdict.p4>

#endif
