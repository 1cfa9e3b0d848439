// SPDX-License-Identifier: Apache-2.0
// PNA as p4c-dpdk reads it.
#ifndef TARGET_P4
#define TARGET_P4

#include <dpdk/pna.p4>

// Packets only: DPDK's counters know a packet's length only if they are told it.
#define DIRECT_COUNTER(counter) DirectCounter<bit<64>>(PNA_CounterType_t.PACKETS) counter
#define COUNTED_BY(counter) pna_direct_counter = counter;
#define COUNT(counter) counter.count()

// DPDK counts by entry only where the key lies in one piece, which that of most tables does not: no counter per entry.
#define ENTRY_COUNTER(called, counter)
#define ENTRIES_COUNTED_BY(counter)
#define COUNT_ENTRY(counter)

// One meter per port, as with bmv2, so that one controller serves both. It is told the length by the headers: that of the
// IPv4 datagram, 28 bytes of ARP, the least of anything else.
#define POLICER(meter) Meter<port_t>(PER_VIF_SIZE, PNA_MeterType_t.BYTES) meter
#define METERED_BY(meter)
#define POLICE(meter, meta) meta.color = meter.dpdk_execute(meta.in_port, DPDK_GREEN, meta.length)

// A colour's number is p4c's where the program names it (RED 0, GREEN 1, YELLOW 2), and DPDK's where the meter says it
// (enum rte_color: green 0, yellow 1, red 2).
#define DPDK_GREEN PNA_MeterColor_t.RED
#define COLOR_RED  PNA_MeterColor_t.YELLOW

#define ARCH_METADATA bit<32> length;
#define PARSER_UNITS
#define PARSED_ETHERNET(hdr, meta) meta.length = 46;
#define PARSED_ARP(hdr, meta) meta.length = 28;
#define PARSED_IPV4(hdr, meta) meta.length = (bit<32>)hdr.ipv4.total_length;
#define PARSED_TCP(hdr, meta)
#define PARSED_UDP(hdr, meta)

// p4c-dpdk tells the main control where a packet came in, and not the parser: there is no PacketOut.
#define FROM_CONTROLLER(istd) false

// What PNA's package has before the main control, and how its deparser takes the headers.
#define PRE_CONTROL NoDecryption(),
#define DEPARSED in

struct no_headers_t { }
struct no_metadata_t { }

control NoDecryption(in no_headers_t hdr,
                     inout no_metadata_t meta,
                     in pna_pre_input_metadata_t istd,
                     inout pna_pre_output_metadata_t ostd) {
    apply { }
}

#endif
