# SPDX-License-Identifier: Apache-2.0
"""The least that an XDP switch can do with a frame: send it out of the one other port. Compiled by LLVM, in process."""

from __future__ import annotations

import llvmlite.binding as llvm

_SECTION = "xdp"  # must differ from the function's name: the assembler knows one symbol of a name
_REDIRECT_MAP = 51  # BPF_FUNC_redirect_map, <linux/bpf.h>
_MAP_BY_DESCRIPTOR = 1  # BPF_PSEUDO_MAP_FD

_SOURCE = f"""\
target triple = "bpfel"

declare i64 @llvm.bpf.pseudo(i64, i64)

define i32 @redirect(ptr %context) section "{_SECTION}" {{
  %map = call i64 @llvm.bpf.pseudo(i64 {_MAP_BY_DESCRIPTOR}, i64 %%DESCRIPTOR%%)
  %port = inttoptr i64 %map to ptr
  %action = call i64 inttoptr (i64 {_REDIRECT_MAP} to ptr)(ptr %port, i64 0, i64 0)
  %result = trunc i64 %action to i32
  ret i32 %result
}}
"""


def instructions(devmap: int) -> bytes:
    """Redirects every frame to the first port of the devmap with this descriptor."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    module = llvm.parse_assembly(_SOURCE.replace("%%DESCRIPTOR%%", str(devmap)))
    machine = llvm.Target.from_triple("bpfel").create_target_machine(opt=2)
    compiled = llvm.ObjectFileRef.from_data(machine.emit_object(module))
    section = next(each for each in compiled.sections() if each.name() == _SECTION.encode())
    return bytes(section.data())
