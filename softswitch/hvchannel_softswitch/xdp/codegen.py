# SPDX-License-Identifier: Apache-2.0
"""LLVM IR to eBPF instructions, in this process."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import llvmlite.binding as llvm

from hvchannel_softswitch.model import UnsupportedProgram
from hvchannel_softswitch.model.program import Conditional
from hvchannel_softswitch.xdp.listing import Line, listing
from hvchannel_softswitch.xdp.lower.build import Lowered
from hvchannel_softswitch.xdp.lower.kernel import PSEUDO_MAP_FD, PSEUDO_MAP_VALUE, MapRef

_CPU = "v3"
"""Instruction set: 32 bit registers, comparisons of all kinds, atomics with a result (Linux 5.12)."""

_SECTION = b"xdp"
STACK_BYTES = 512
"""Of stack that eBPF has for a program."""
_LOAD_WIDE = 0x18
_LD, _LDX, _ST, _STX, _ALU, _ALU64 = 0, 1, 2, 3, 4, 7
"""Classes of instructions, in the low bits of the opcode."""
_ADD_CONSTANT, _MOVE = 0x07, 0xBF
_IMMEDIATE = struct.Struct("<i")
_ELF_SECTION = struct.Struct("<IIQQQQIIQQ")


@dataclass(frozen=True, slots=True)
class Compiled:
    """Instructions of 8 bytes each. `conditions`: see `Lowered`."""

    instructions: bytes
    conditions: tuple[Conditional, ...]
    _module: llvm.ModuleRef
    _texts: list[str]

    @property
    def stack(self) -> int:
        """Bytes of stack that the instructions use."""
        return _deepest(self.instructions)

    def assembly(self) -> str:
        """The instructions as LLVM prints them, with `.loc` lines whose numbers are those of the notes."""
        return str(_machine().emit_assembly(self._module))

    def origins(self) -> tuple[str, ...]:
        """What each instruction comes from."""
        return tuple(line.origin for line in self.listing() for _ in range(line.slots))

    def listing(self) -> list[Line]:
        """The instructions as LLVM prints them, and labels, each with what it comes from."""
        return list(listing(self.assembly(), self._texts))


def linked(instructions: bytes, descriptors: Mapping[MapRef, int]) -> bytes:
    """The instructions with the maps' descriptors in their places."""
    code = bytearray(instructions)
    for offset, which in _references(instructions):
        _IMMEDIATE.pack_into(code, offset, descriptors[which])
    return bytes(code)


def used_maps(instructions: bytes) -> set[MapRef]:
    """The maps that the instructions refer to."""
    return {which for _, which in _references(instructions)}


def _references(code: bytes) -> Iterator[tuple[int, MapRef]]:
    """Where a map stands in instructions that are not linked yet, and which."""
    for offset in range(0, len(code), 8):
        source = code[offset + 1] >> 4
        if code[offset] == _LOAD_WIDE and source in (PSEUDO_MAP_FD, PSEUDO_MAP_VALUE):
            yield offset + 4, MapRef(_IMMEDIATE.unpack_from(code, offset + 4)[0])


@cache
def _machine() -> llvm.TargetMachine:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    # The program is measured here, and refused with words of ours: LLVM would end the process.
    llvm.set_option("", "-bpf-stack-size=65536")
    return llvm.Target.from_triple("bpfel").create_target_machine(cpu=_CPU, opt=3)


def compile_ir(lowered: Lowered) -> Compiled:
    """Raises UnsupportedProgram for a program that does not fit eBPF's stack."""
    machine = _machine()
    module = llvm.parse_assembly(str(lowered.module))
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_unrolling = False
    options.loop_vectorization = False
    options.slp_vectorization = False
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    instructions = _section(machine.emit_object(module))
    compiled = Compiled(instructions, lowered.conditions, module, lowered.notes.texts)
    if compiled.stack > STACK_BYTES:
        raise UnsupportedProgram(
            f"the program needs {compiled.stack} bytes of stack; eBPF has {STACK_BYTES} (fewer live variables would do)"
        )
    return compiled


def _section(elf: bytes) -> bytes:
    """The section with the program, of an object in which nothing is left to relocate."""
    (table,) = struct.unpack_from("<Q", elf, 40)
    size, count, names_index = struct.unpack_from("<HHH", elf, 58)
    sections = [_ELF_SECTION.unpack_from(elf, table + i * size) for i in range(count)]
    names = sections[names_index]

    def name(section: tuple[int, ...]) -> bytes:
        start = names[4] + section[0]
        return elf[start : elf.index(b"\0", start)]

    by_name = {name(section): section for section in sections}
    if b".rel" + _SECTION in by_name:
        raise UnsupportedProgram("the program needs arithmetic that eBPF does not have")
    section = by_name[_SECTION]
    return elf[section[4] : section[4] + section[5]]


def _deepest(instructions: bytes) -> int:
    """The largest offset below the frame pointer, register 10, that an instruction names."""
    deepest, copies = 0, set()
    for code, registers, offset, immediate in struct.iter_unpack("<BBhi", instructions):
        kind, destination, source = code & 7, registers & 15, registers >> 4
        if (kind == _LDX and source == 10) or (kind in (_ST, _STX) and destination == 10):
            deepest = max(deepest, -offset)
        if code == _MOVE and source == 10:
            copies.add(destination)
            continue
        if code == _ADD_CONSTANT and destination in copies:
            deepest = max(deepest, -immediate)
        if kind in (_LD, _LDX, _ALU, _ALU64):
            copies.discard(destination)
    return deepest
