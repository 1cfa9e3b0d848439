# SPDX-License-Identifier: Apache-2.0
"""eBPF by hand: instructions as tuples, jumps to labels (Documentation/bpf/standardization/instruction-set.rst)."""

from __future__ import annotations

import struct
from typing import NamedTuple

R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 = range(11)
BYTE, HALF, WORD, DOUBLE = 0x10, 0x08, 0x00, 0x18

MAP_LOOKUP = 1
REDIRECT_MAP = 51
KTIME_GET_NS = 5
SKB_VLAN_PUSH = 18
ADJUST_HEAD = 44
ADJUST_TAIL = 65
RINGBUF_RESERVE, RINGBUF_SUBMIT, RINGBUF_DISCARD = 131, 132, 133
RINGBUF_OUTPUT = 130
XDP_LOAD_BYTES = 189

ABORTED, DROP, PASS, TX, REDIRECT = range(5)


class Op(NamedTuple):
    code: int
    dst: int = 0
    src: int = 0
    offset: int | str = 0  # a str is the label to jump to
    immediate: int = 0


def assemble(*parts: Op | tuple[Op, ...] | str) -> bytes:
    """The program's bytes; a str among the parts is the label of what follows."""
    flat: list[Op] = []
    labels: dict[str, int] = {}
    for part in parts:
        if isinstance(part, str):
            labels[part] = len(flat)
        elif isinstance(part, Op):
            flat.append(part)
        else:
            flat.extend(part)
    program = b""
    for index, (code, dst, src, offset, immediate) in enumerate(flat):
        jump = labels[offset] - index - 1 if isinstance(offset, str) else offset
        program += struct.pack("<BBhI", code, src << 4 | dst, jump, immediate & 0xFFFFFFFF)
    return program


def move(dst: int, src: int) -> Op:
    return Op(0xBF, dst, src)


def move_imm(dst: int, value: int) -> Op:
    return Op(0xB7, dst, immediate=value)


def add_imm(dst: int, value: int) -> Op:
    return Op(0x07, dst, immediate=value)


def load(size: int, dst: int, src: int, offset: int) -> Op:
    return Op(0x61 | size, dst, src, offset)


def store(size: int, dst: int, offset: int, src: int) -> Op:
    return Op(0x63 | size, dst, src, offset)


def store_imm(size: int, dst: int, offset: int, value: int) -> Op:
    return Op(0x62 | size, dst, 0, offset, value)


def jump_if_equal(dst: int, value: int, label: str) -> Op:
    return Op(0x15, dst, 0, label, value)


def jump_if_not_equal(dst: int, value: int, label: str) -> Op:
    return Op(0x55, dst, 0, label, value)


def jump_if_greater(dst: int, src: int, label: str) -> Op:
    return Op(0x2D, dst, src, label)


def jump(label: str) -> Op:
    return Op(0x05, offset=label)


def map_fd(dst: int, fd: int) -> tuple[Op, ...]:
    return Op(0x18, dst, 1, 0, fd), Op(0)


def map_value(dst: int, fd: int, offset: int = 0) -> tuple[Op, ...]:
    """The address of an ARRAY's first element."""
    return Op(0x18, dst, 2, 0, fd), Op(0, immediate=offset)


def call(helper: int) -> Op:
    return Op(0x85, immediate=helper)


def leave(result: int | None = None) -> tuple[Op, ...]:
    """Returns `result`, or what is in R0."""
    return (Op(0x95),) if result is None else (move_imm(R0, result), Op(0x95))


def xor_imm(dst: int, value: int) -> Op:
    return Op(0xA7, dst, immediate=value)


def jump_if_greater_imm(dst: int, value: int, label: str) -> Op:
    return Op(0x25, dst, 0, label, value)
