// SPDX-License-Identifier: Apache-2.0
// What a stage may ask of its architecture, in the Tofino Native Architecture's words.
#ifndef ARCH_P4
#define ARCH_P4

#include <core.p4>
#include <tna.p4>

// The port of PacketIn and PacketOut: the PCIe port of a Tofino with two pipes.
#define CPU_PORT 192

typedef PortId_t port_t;
typedef bit<7> punt_reason_t; // with a port it fills whole bytes of a PacketIn
typedef bit<8> color_t;
const color_t COLOR_RED = 3;

#define DIRECT_COUNTER(counter) DirectCounter<bit<64>>(CounterType_t.PACKETS_AND_BYTES) counter
#define COUNTED_BY(counter) counters = counter;
#define COUNT(counter) counter.count()

// A counter per entry, of tables whose entries a controller writes.
#define ENTRY_COUNTER(called, counter) @name(called) DIRECT_COUNTER(counter);
#define ENTRIES_COUNTED_BY(counter) COUNTED_BY(counter)
#define COUNT_ENTRY(counter) COUNT(counter);

// One meter per entry.
#define POLICER(meter) DirectMeter(MeterType_t.BYTES) meter
#define METERED_BY(meter) meters = meter;
#define POLICE(meter, meta) meta.color = meter.execute()

// The parser takes out of the checksums what may change; the deparser puts back what it has become (frame.p4), where the
// stage has asked for it (adjust_checksums.p4).
#define ARCH_METADATA bit<16> ipv4_residual; bit<16> tcp_residual; bit<16> udp_residual; \
                      bit<1> adjusts_ipv4; bit<1> adjusts_tcp; bit<1> adjusts_udp; \
                      DigestType_t digest_type;
#define ARCH_HEADERS bridge_t bridge;
// Its own parser has read a PacketOut's header: Tofino selects by what it has read, not by metadata.
#define FRAME_STARTS(meta) parse_ethernet;
#define PARSER_UNITS Checksum() ipv4_checksum; Checksum() tcp_checksum; Checksum() udp_checksum;
#define PARSED_ETHERNET(hdr, meta)
#define PARSED_ARP(hdr, meta)
#define PARSED_IPV4(hdr, meta) ipv4_checksum.subtract({hdr.ipv4.checksum, hdr.ipv4.src_addr, hdr.ipv4.dst_addr}); \
                               ipv4_checksum.subtract_all_and_deposit(meta.ipv4_residual);                 \
                               tcp_checksum.subtract({hdr.ipv4.src_addr, hdr.ipv4.dst_addr});                     \
                               udp_checksum.subtract({hdr.ipv4.src_addr, hdr.ipv4.dst_addr});
#define PARSED_TCP(hdr, meta) tcp_checksum.subtract({hdr.tcp.checksum}); tcp_checksum.subtract_all_and_deposit(meta.tcp_residual);
#define PARSED_UDP(hdr, meta) udp_checksum.subtract({hdr.udp.checksum}); udp_checksum.subtract_all_and_deposit(meta.udp_residual);

#endif
