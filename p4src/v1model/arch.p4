// SPDX-License-Identifier: Apache-2.0
// What a stage may ask of its architecture, in v1model's words. Another architecture brings a file of the same name.
#ifndef ARCH_P4
#define ARCH_P4

#define V1MODEL_VERSION 20200408
#include <core.p4>
#include <v1model.p4>

// The port of PacketIn and PacketOut: simple_switch_grpc's and softswitch's --cpu-port.
#define CPU_PORT 510

#define DIRECT_COUNTER(counter) direct_counter(CounterType.packets_and_bytes) counter
#define COUNTED_BY(counter) counters = counter
#define DIRECT_METER(meter) direct_meter<color_t>(MeterType.bytes) meter
#define METERED_BY(meter) meters = meter

#endif
