# SPDX-License-Identifier: Apache-2.0
"""Programs: loaded, refused, run on a frame."""

from __future__ import annotations

import random
import re
import socket

import pytest
from hvchannel_softswitch.bpf import (
    AttachType,
    MapFlag,
    MapKind,
    Program,
    VerifierError,
    create_map,
    load_program,
    xdp_available,
)
from hvchannel_softswitch.bpf.programs import last_instruction

from .assembler import (
    ADJUST_HEAD,
    BYTE,
    DROP,
    PASS,
    R0,
    R1,
    R2,
    R3,
    R4,
    R6,
    TX,
    WORD,
    add_imm,
    assemble,
    call,
    jump_if_greater,
    leave,
    load,
    map_value,
    move,
    move_imm,
    store,
)
from .wires import wires

pytestmark = pytest.mark.root

FRAME = bytes.fromhex("020000000001 020000000002 0800") + bytes(range(46))


@pytest.fixture
def passes() -> Program:
    return load_program(assemble(leave(PASS)), name="t_pass", frags=True)


def test_a_program_says_what_it_is() -> None:
    program = load_program(assemble(leave(DROP)), name="t_drop")
    assert program.info.name == "t_drop"
    assert program.info.translated_bytes == 16
    assert re.fullmatch("[0-9a-f]{16}", program.info.tag)
    program.close()


def test_a_refused_program_tells_why_and_where() -> None:
    # Reads the frame without a look at where it ends.
    code = assemble(load(WORD, R1, R1, 0), load(BYTE, R0, R1, 0), leave())
    with pytest.raises(VerifierError, match=r"program 't_wrong' at instruction 1: .*R1") as caught:
        load_program(code, name="t_wrong")
    assert caught.value.instruction == 1
    assert "invalid access to packet" in caught.value.log


def test_a_long_log_still_ends_with_the_reason() -> None:
    code = assemble(*[move_imm(R0, i) for i in range(50_000)], load(WORD, R0, R4, 0), leave())
    with pytest.raises(VerifierError, match="R4 !read_ok") as caught:
        load_program(code, name="t_long")
    assert caught.value.instruction == 50_000


def test_half_an_instruction_is_refused() -> None:
    with pytest.raises(ValueError, match="9 bytes"):
        load_program(bytes(9), name="t_half")


def test_last_instruction_of_a_log() -> None:
    assert last_instruction("") is None
    assert (
        last_instruction("0: (b7) r0 = 1 ; R0_w=1\n12: (95) exit\nfrom 3 to 9: R1=2\nprocessed 3 insns") == 12
    )


def test_run_returns_result_frame_and_time(passes: Program) -> None:
    run = passes.test_run(FRAME, repeat=1000)
    assert (run.result, run.frame) == (PASS, FRAME)
    assert run.nanoseconds < 1_000_000


def test_a_program_reads_metadata_and_sees_only_the_frame_behind_it() -> None:
    # Returns the metadata's word when the frame behind it is 60 bytes long, else 0.
    code = assemble(
        load(WORD, R2, R1, 8),  # data_meta
        load(WORD, R3, R1, 0),  # data
        load(WORD, R4, R1, 4),  # data_end
        move(R6, R2),
        add_imm(R6, 4),
        move_imm(R0, 0),
        jump_if_greater(R6, R3, "out"),
        move(R6, R3),
        add_imm(R6, 60),
        jump_if_greater(R6, R4, "out"),
        add_imm(R6, 1),
        jump_if_greater(R6, R4, "right"),
        leave(),
        "right",
        load(WORD, R0, R2, 0),
        "out",
        leave(),
    )
    with load_program(code, name="t_meta") as program:
        run = program.test_run(FRAME, metadata=(0x1234).to_bytes(4, "little"))
        assert (run.result, run.frame) == (0x1234, FRAME)
        assert program.test_run(FRAME).result == 0
        assert program.test_run(FRAME + b"!", metadata=bytes(4) * 2).result == 0
        assert program.test_run(FRAME, metadata=bytes(216)).frame == FRAME
        for wrong in (3, 220):
            with pytest.raises(ValueError, match="multiple of 4, at most 216"):
                program.test_run(FRAME, metadata=bytes(wrong))


@pytest.mark.parametrize("delta", [-4, 4])
def test_a_frame_that_grew_or_shrank_at_its_head_comes_back_whole(delta: int) -> None:
    code = assemble(move_imm(R2, delta), call(ADJUST_HEAD), leave(TX))
    with load_program(code, name="t_head") as program:
        for metadata in (b"", bytes(12)):
            run = program.test_run(FRAME, metadata=metadata)
            if delta > 0:
                assert run.frame == FRAME[delta:]
            else:
                assert run.frame[-delta:] == FRAME


@pytest.mark.parametrize("length", [14, 60, 1514, 3500, 4096, 9014, 60000])
def test_frames_of_any_length(passes: Program, length: int) -> None:
    frame = random.Random(length).randbytes(length)
    for metadata in (b"", bytes(range(32))):
        run = passes.test_run(frame, metadata=metadata)
        assert run.result == PASS
        assert run.frame == frame


def test_frames_of_no_length_are_refused(passes: Program) -> None:
    with pytest.raises(ValueError, match="a frame of 13 bytes"):
        passes.test_run(bytes(13))
    with pytest.raises(ValueError, match="a frame of 70000 bytes"):
        passes.test_run(bytes(70000))


def test_runs_do_not_mix(passes: Program) -> None:
    assert passes.test_run(b"\xff" * 1000).frame == b"\xff" * 1000
    assert passes.test_run(FRAME).frame == FRAME
    other = load_program(assemble(leave(DROP)), name="t_other")
    assert other.test_run(FRAME).result == DROP
    assert passes.test_run(FRAME).result == PASS


def test_an_arena_is_read_and_written_by_a_program() -> None:
    with create_map(MapKind.ARRAY, 4, 64, 1, MapFlag.MMAPABLE, "t_arena") as arena:
        memory = arena.memory()
        code = assemble(
            map_value(R1, arena.fd, 8),
            load(WORD, R0, R1, 0),
            add_imm(R0, 1),
            store(WORD, R1, 4, R0),
            leave(),
        )
        with load_program(code, name="t_arena") as program:
            memory[8:12] = (41).to_bytes(4, "little")
            assert program.test_run(FRAME).result == 42
            assert memory[12:16] == (42).to_bytes(4, "little")
        memory.close()


def test_a_run_comes_in_by_an_interface() -> None:
    with (
        wires() as world,
        load_program(assemble(load(WORD, R0, R1, 12), leave()), name="t_ifindex") as program,
    ):
        assert program.test_run(FRAME).result == socket.if_nametoindex("lo")
        world.host("p1")
        ifindex = socket.if_nametoindex("p1")
        assert program.test_run(FRAME, ingress_ifindex=ifindex).result == ifindex
        with pytest.raises(OSError, match="PROG_TEST_RUN"):
            program.test_run(FRAME, ingress_ifindex=9999)


def test_a_devmap_program_loads_but_cannot_be_run_by_hand() -> None:
    with (
        load_program(
            assemble(leave(PASS)), name="t_egress", expected_attach_type=AttachType.XDP_DEVMAP
        ) as program,
        pytest.raises(OSError, match="PROG_TEST_RUN"),
    ):
        program.test_run(FRAME)


def test_xdp_is_available_here() -> None:
    assert xdp_available() is None
