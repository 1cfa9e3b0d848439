# SPDX-License-Identifier: Apache-2.0
"""What stands in for the guests' vSwitches: one XDP program for every interface of the trunks' namespace. A map says,
by interface and VLAN id (0: no tag), where a frame goes and which tag it gets (0: none)."""

from __future__ import annotations

import struct

import llvmlite.binding as llvm

KEY = struct.Struct("=II")
"""Interface, VLAN id: the map's key, where a frame comes from."""

VALUE = struct.Struct("=II")
"""Interface, VLAN id: the map's value, where it goes."""

_SECTION = "xdp"  # must differ from the function's name: the assembler knows one symbol of a name
_DROP = 1  # XDP_DROP
_LOOKUP, _REDIRECT, _ADJUST_HEAD = 1, 23, 44  # BPF_FUNC_*, <linux/bpf.h>
_MAP_BY_DESCRIPTOR = 1  # BPF_PSEUDO_MAP_FD
_TAGGED = 0x0081  # EtherType 0x8100, as a little-endian machine loads it

# Every frame is looked at up to byte 18: a tagged header's length, and less than the shortest frame there is.
_SOURCE = f"""\
target triple = "bpfel"

declare i64 @llvm.bpf.pseudo(i64, i64)
declare i16 @llvm.bswap.i16(i16)

define i32 @trunk(ptr %context) section "{_SECTION}" {{
entry:
  %key = alloca [2 x i32], align 8
  %key_vlan = getelementptr i32, ptr %key, i64 1
  %start = load i32, ptr %context
  %end_at = getelementptr i32, ptr %context, i64 1
  %end = load i32, ptr %end_at
  %ingress_at = getelementptr i32, ptr %context, i64 3
  %ingress = load i32, ptr %ingress_at
  %start64 = zext i32 %start to i64
  %end64 = zext i32 %end to i64
  %frame = inttoptr i64 %start64 to ptr
  %limit = inttoptr i64 %end64 to ptr
  %needed = getelementptr i8, ptr %frame, i64 18
  %short = icmp ugt ptr %needed, %limit
  br i1 %short, label %drop, label %read

read:
  %macs = load i64, ptr %frame, align 8
  %macs_rest_at = getelementptr i8, ptr %frame, i64 8
  %macs_rest = load i32, ptr %macs_rest_at, align 4
  %type_at = getelementptr i8, ptr %frame, i64 12
  %type = load i16, ptr %type_at, align 2
  %tagged = icmp eq i16 %type, {_TAGGED}
  br i1 %tagged, label %tag, label %look_up

tag:
  %tci_at = getelementptr i8, ptr %frame, i64 14
  %tci_raw = load i16, ptr %tci_at, align 2
  %tci = call i16 @llvm.bswap.i16(i16 %tci_raw)
  %id = and i16 %tci, 4095
  %id32 = zext i16 %id to i32
  br label %look_up

look_up:
  %vlan = phi i32 [ 0, %read ], [ %id32, %tag ]
  store i32 %ingress, ptr %key
  store i32 %vlan, ptr %key_vlan
  %map = call i64 @llvm.bpf.pseudo(i64 {_MAP_BY_DESCRIPTOR}, i64 %%DESCRIPTOR%%)
  %map_pointer = inttoptr i64 %map to ptr
  %found = call ptr inttoptr (i64 {_LOOKUP} to ptr)(ptr %map_pointer, ptr %key)
  %missing = icmp eq ptr %found, null
  br i1 %missing, label %drop, label %hit

hit:
  %out = load i32, ptr %found
  %push_at = getelementptr i32, ptr %found, i64 1
  %push = load i32, ptr %push_at
  %pops = icmp ne i32 %vlan, 0
  %pushes = icmp ne i32 %push, 0
  %taken = select i1 %pops, i32 4, i32 0
  %shift = select i1 %pushes, i32 -4, i32 0
  %moved = add i32 %taken, %shift
  %unable = call i64 inttoptr (i64 {_ADJUST_HEAD} to ptr)(ptr %context, i32 %moved)
  %stays = icmp ne i64 %unable, 0
  br i1 %stays, label %drop, label %again

again:
  %new_start = load i32, ptr %context
  %new_end = load i32, ptr %end_at
  %new_start64 = zext i32 %new_start to i64
  %new_end64 = zext i32 %new_end to i64
  %new_frame = inttoptr i64 %new_start64 to ptr
  %new_limit = inttoptr i64 %new_end64 to ptr
  %new_needed = getelementptr i8, ptr %new_frame, i64 18
  %new_short = icmp ugt ptr %new_needed, %new_limit
  br i1 %new_short, label %drop, label %write

write:
  store i64 %macs, ptr %new_frame, align 8
  %new_rest_at = getelementptr i8, ptr %new_frame, i64 8
  store i32 %macs_rest, ptr %new_rest_at, align 4
  br i1 %pushes, label %write_tag, label %send

write_tag:
  %new_type_at = getelementptr i8, ptr %new_frame, i64 12
  store i16 {_TAGGED}, ptr %new_type_at, align 2
  %push16 = trunc i32 %push to i16
  %push_raw = call i16 @llvm.bswap.i16(i16 %push16)
  %new_tci_at = getelementptr i8, ptr %new_frame, i64 14
  store i16 %push_raw, ptr %new_tci_at, align 2
  br label %send

send:
  %action = call i64 inttoptr (i64 {_REDIRECT} to ptr)(i32 %out, i64 0)
  %result = trunc i64 %action to i32
  ret i32 %result

drop:
  ret i32 {_DROP}
}}
"""


def instructions(ways: int) -> bytes:
    """Of the program that looks its ways up in the hash map with this descriptor."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    module = llvm.parse_assembly(_SOURCE.replace("%%DESCRIPTOR%%", str(ways)))
    machine = llvm.Target.from_triple("bpfel").create_target_machine(opt=2)
    compiled = llvm.ObjectFileRef.from_data(machine.emit_object(module))
    section = next(each for each in compiled.sections() if each.name() == _SECTION.encode())
    return bytes(section.data())
