// SPDX-License-Identifier: Apache-2.0
// What a stage may ask of its architecture, in v1model's words. Every architecture has a file of this name.
#ifndef ARCH_P4
#define ARCH_P4

#define V1MODEL_VERSION 20200408
#include <core.p4>
#include <v1model.p4>

// The port of PacketIn and PacketOut: simple_switch_grpc's and softswitch's --cpu-port.
#define CPU_PORT 510

typedef bit<9> port_t;
typedef bit<7> punt_reason_t; // with a port it fills whole bytes of a PacketIn
typedef bit<2> color_t;
const color_t COLOR_RED = 2; // RFC 2698

// A table with a direct counter counts by itself.
#define DIRECT_COUNTER(counter) direct_counter(CounterType.packets_and_bytes) counter
#define COUNTED_BY(counter) counters = counter;
#define COUNT(counter)

// A counter per entry, of tables whose entries a controller writes.
#define ENTRY_COUNTER(called, counter) @name(called) DIRECT_COUNTER(counter);
#define ENTRIES_COUNTED_BY(counter) COUNTED_BY(counter)
#define COUNT_ENTRY(counter) COUNT(counter);

// One meter per entry.
#define POLICER(meter) direct_meter<color_t>(MeterType.bytes) meter
#define METERED_BY(meter) meters = meter;
#define POLICE(meter, meta) meter.read(meta.color)

#define ARCH_METADATA
#define ARCH_HEADERS

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
