# SPDX-License-Identifier: Apache-2.0
"""The program of the tests of ports: what comes in by port 1 goes out by 2, and the other way round."""

from __future__ import annotations

from hvchannel_softswitch.bpf import Program, load_program
from hvchannel_softswitch.xdp.ports import XdpPorts

from .assembler import (
    BYTE,
    DROP,
    MAP_LOOKUP,
    R0,
    R1,
    R2,
    R3,
    R4,
    R10,
    REDIRECT_MAP,
    WORD,
    add_imm,
    assemble,
    call,
    jump,
    jump_if_equal,
    jump_if_greater,
    jump_if_greater_imm,
    leave,
    load,
    map_fd,
    move,
    move_imm,
    store,
    store_imm,
    xor_imm,
)

MARK = 14
"""The offset in the frame where a marking program leaves its mark."""


def redirect(ports: XdpPorts, *, mark: int | None = None, frags: bool = True) -> Program:
    """With `mark`, it also writes that at MARK. Without `frags`, it refuses frames in pieces."""
    marking = (
        load(WORD, R2, R1, 0),
        load(WORD, R3, R1, 4),
        move(R4, R2),
        add_imm(R4, MARK + 1),
        jump_if_greater(R4, R3, "drop"),
        store_imm(BYTE, R2, MARK, mark or 0),
    )
    code = assemble(
        *(marking if mark is not None else ()),
        load(WORD, R2, R1, 12),
        store(WORD, R10, -4, R2),
        jump_if_greater_imm(R2, 65535, "far"),
        map_fd(R1, ports.ingress.near.fd),
        move(R2, R10),
        add_imm(R2, -4),
        call(MAP_LOOKUP),
        jump_if_equal(R0, 0, "drop"),
        load(WORD, R2, R0, 0),
        jump_if_greater_imm(R2, 511, "drop"),
        "send",
        xor_imm(R2, 3),
        map_fd(R1, ports.devmap.fd),
        move_imm(R3, 0),
        call(REDIRECT_MAP),
        leave(),
        "far",
        map_fd(R1, ports.ingress.far.fd),
        move(R2, R10),
        add_imm(R2, -4),
        call(MAP_LOOKUP),
        jump_if_equal(R0, 0, "drop"),
        load(WORD, R2, R0, 0),
        jump("send"),
        "drop",
        leave(DROP),
    )
    return load_program(code, name="t_redirect", frags=frags)
