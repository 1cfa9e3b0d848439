// SPDX-License-Identifier: Apache-2.0
// What a stage may ask of its architecture, in the Portable Switch Architecture's words, as p4c-bm2-psa reads them.
#ifndef ARCH_P4
#define ARCH_P4

#include <core.p4>
#include <bmv2/psa.p4>

// The port of PacketIn and PacketOut.
#define CPU_PORT ((PortIdUint_t)PSA_PORT_CPU)

typedef PortIdUint_t port_t;
typedef bit<8> punt_reason_t;
typedef PSA_MeterColor_t color_t;
#define COLOR_RED PSA_MeterColor_t.RED

// p4c-bm2-psa writes direct counters into the P4Info only.
#define DIRECT_COUNTER(counter) DirectCounter<bit<64>>(PSA_CounterType_t.PACKETS_AND_BYTES) counter
#define COUNTED_BY(counter) psa_direct_counter = counter;
#define COUNT(counter) counter.count()

// A counter per entry, of tables whose entries a controller writes.
#define ENTRY_COUNTER(called, counter) @name(called) DIRECT_COUNTER(counter);
#define ENTRIES_COUNTED_BY(counter) COUNTED_BY(counter)
#define COUNT_ENTRY(counter) COUNT(counter);

// One meter per port: p4c-bm2-psa compiles no DirectMeter.
#define POLICER(meter) Meter<port_t>(PER_VIF_SIZE, PSA_MeterType_t.BYTES) meter
#define METERED_BY(meter)
#define POLICE(meter, meta) meta.color = meter.execute(meta.in_port)

#define ARCH_METADATA
#define ARCH_HEADERS bridge_t bridge;

// A PacketOut begins with a header of its own.
#define FRAME_STARTS(meta) select(meta.from_controller) { true: parse_packet_out; false: parse_ethernet; }

// The parser needs nothing more.
#define PARSER_UNITS
#define PARSED_ETHERNET(hdr, meta)
#define PARSED_ARP(hdr, meta)
#define PARSED_IPV4(hdr, meta)
#define PARSED_TCP(hdr, meta)
#define PARSED_UDP(hdr, meta)

#endif
