// SPDX-License-Identifier: Apache-2.0
// PNA as p4c-bm2-pna reads it.
#ifndef TARGET_P4
#define TARGET_P4

#include <bmv2/pna.p4>

// p4c-bm2-pna writes direct counters into the P4Info only.
#define DIRECT_COUNTER(counter) DirectCounter<bit<64>>(PNA_CounterType_t.PACKETS_AND_BYTES) counter
#define COUNTED_BY(counter) pna_direct_counter = counter;
#define COUNT(counter) counter.count()

// A counter per entry, of tables whose entries a controller writes.
#define ENTRY_COUNTER(called, counter) @name(called) DIRECT_COUNTER(counter);
#define ENTRIES_COUNTED_BY(counter) COUNTED_BY(counter)
#define COUNT_ENTRY(counter) COUNT(counter);

// One meter per port: p4c-bm2-pna compiles no DirectMeter.
#define POLICER(meter) Meter<port_t>(PER_VIF_SIZE, PNA_MeterType_t.BYTES) meter
#define METERED_BY(meter)
#define POLICE(meter, meta) meta.color = meter.execute(meta.in_port)
#define COLOR_RED PNA_MeterColor_t.RED

#define FROM_CONTROLLER(istd) ((port_t)istd.input_port == CPU_PORT)

// What PNA's package has before the main control (nothing: decryption is not in bmv2's), and how its deparser takes the
// headers.
#define PRE_CONTROL
#define DEPARSED inout

// The stages and the parser need nothing more.
#define ARCH_METADATA
#define PARSER_UNITS
#define PARSED_ETHERNET(hdr, meta)
#define PARSED_ARP(hdr, meta)
#define PARSED_IPV4(hdr, meta)
#define PARSED_TCP(hdr, meta)
#define PARSED_UDP(hdr, meta)

#endif
