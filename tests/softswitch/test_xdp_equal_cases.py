# SPDX-License-Identifier: Apache-2.0
"""Frames and programs on which the compiled program once did something else than the interpreter, or would not load."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hvchannel_softswitch.engine import ActionCall, EntryKey, Optional, Range, Ternary
from hvchannel_softswitch.model import load

from .engine_pair import pair

pytestmark = pytest.mark.root
Load = Callable[[str], dict[str, Any]]


def changed(program: dict[str, Any], old: str, new: str) -> str:
    """Its JSON with something else in the place of `old`."""
    text = json.dumps(program)
    assert old in text
    return text.replace(old, new)


def test_an_advance_beyond_the_frame_leaves_the_parser_where_it_was(program_json: Load) -> None:
    with pair(load(program_json("stacks"))) as both:
        # `peek` skips 255 bytes; parser_error sends the frame to port 2, its payload whole.
        ((port, frame),) = both.process(0, bytes.fromhex("40ff01000000000000") + bytes(10))
        assert port == 2
        assert frame.endswith(bytes(10))


@pytest.mark.parametrize("length", [0, 1, 9, 13, 14, 39, 40, 41, 3000, 9000])
def test_a_frame_is_cut_to_its_length_however_short(program_json: Load, length: int) -> None:
    program = load(program_json("state"))
    (table,) = (name for name in program.tables if name.endswith(".choose"))
    (cut,) = (action.name for action in program.tables[table].actions if action.name.endswith(".cut"))
    with pair(program) as both:
        both.insert(table, EntryKey((Ternary(0, 0),), 1), ActionCall(cut, (length,)))
        both.flush()
        for size in (9, 13, 60, 9000):
            for _, sent in both.process(1, bytes(size)):
                assert len(sent) <= length


def test_a_remainder_is_no_stack(program_json: Load) -> None:
    """Its constant was taken for an offset from the frame pointer: 65,535 bytes of stack."""
    with pair(load(changed(program_json("state"), "0x0000000100000000", "0x000000000000ffff"))) as both:
        assert both.compiled.compiled.compile(probe=True, trace=False).stack < 512


@pytest.mark.parametrize("operator", ["/", "%"])
def test_division_by_what_a_packet_says(program_json: Load, operator: str) -> None:
    """p4c lets no program divide by a field; bmv2 does, and by zero too."""
    program = load(changed(program_json("arithmetic"), '"op": "*"', f'"op": "{operator}"'))
    with pair(program) as both:
        for a, b in ((0, 0), (7, 0), (0, 7), (2**32 - 1, 1), (2**32 - 1, 2**32 - 1), (1000, 7)):
            for what in (0, 9):
                operands = a.to_bytes(4) + b.to_bytes(4)
                both.process(1, bytes([what]) + operands + bytes(range(1, 17)))


def test_what_was_written_to_an_invalid_header_does_not_match() -> None:
    """Of a header that no statement makes invalid, but that a short frame leaves so, the interpreter matched it."""
    program = load((Path(__file__).parents[1] / "p4runtime/programs/kinds.json").read_bytes())
    with pair(program) as both:
        both.both("set_default_action", "ingress.exact_table", ActionCall("ingress.rewrite", (2, 1)))
        matches = (Ternary(2, 2**48 - 1), Range(0, 2**16 - 1), Optional(None))
        both.insert("ingress.ternary_table", EntryKey(matches, 1), ActionCall("ingress.to_port", (3,)))
        both.flush()
        both.trace()
        assert [port for port, _ in both.process(1, bytes(20))] == [3]
        assert both.process(1, bytes(13)) == []
