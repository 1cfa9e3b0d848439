// SPDX-License-Identifier: Apache-2.0
// What a stage may ask of its architecture, in the Portable NIC Architecture's words. Targets read PNA differently: what
// they do not agree on, counting, policing and reporting, is in the target's own folder (bmv2/, dpdk/).
#ifndef ARCH_P4
#define ARCH_P4

#include <core.p4>
#include <target.p4>

// The port of PacketIn and PacketOut.
#define CPU_PORT ((InterfaceIdUint_t)PNA_PORT_CPU)

typedef PortIdUint_t port_t;
typedef bit<8> punt_reason_t;
typedef PNA_MeterColor_t color_t;

#define ARCH_HEADERS

// A PacketOut begins with a header of its own.
#define FRAME_STARTS(meta) select(meta.from_controller) { true: parse_packet_out; false: parse_ethernet; }

#endif
