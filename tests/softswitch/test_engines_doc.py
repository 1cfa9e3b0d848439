# SPDX-License-Identifier: Apache-2.0
"""docs/engines.md says of each construct whether the XDP engine takes it: that is so, and every refusal that the
compiler has words for is in the table."""

from __future__ import annotations

import ast
import re
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hvchannel_softswitch.interpreter import Interpreter
from hvchannel_softswitch.model import Program, UnsupportedProgram, load
from hvchannel_softswitch.model import expressions as ex
from hvchannel_softswitch.model import statements as st
from hvchannel_softswitch.model.program import Action, ActionCallNode, ActionProfile
from hvchannel_softswitch.xdp import lower as package
from hvchannel_softswitch.xdp.layout import lay_out
from hvchannel_softswitch.xdp.lower import Build, lower
from hvchannel_softswitch.xdp.lower import statements as lowered

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "docs" / "engines.md"
SOURCES = Path(package.__file__).parent
FOLDERS = (HERE / "programs", HERE / "stf", HERE.parent / "p4runtime" / "programs")
NEVER = {'"is no number"', '"is no boolean"'}
"""Refusals that no program can meet: `model.load` has checked that operands fit their operators."""


def program(name: str) -> Program:
    (path,) = (folder / f"{name}.json" for folder in FOLDERS if (folder / f"{name}.json").exists())
    return load(path.read_bytes())


def doing(*body: st.Statement, base: str = "arithmetic") -> Program:
    """A program whose ingress begins with these statements."""
    found = program(base)
    action, ingress = Action("first", 1 << 20, (), body), found.ingress
    node = ActionCallNode("first", action, ingress.first)
    pipeline = replace(
        ingress, first="first", nodes={**ingress.nodes, "first": node}, order=("first", *ingress.order)
    )
    return replace(found, ingress=pipeline, actions=(*found.actions, action))


def field(header: str, name: str, base: str = "arithmetic") -> ex.FieldRef:
    kind = program(base).headers[header].type.field(name)
    return ex.FieldRef(header, name, kind.width, kind.signed)


WIDE = ex.FieldRef("operands", "wide", 64)
TARGET = ex.FieldRef("results", "r2", 64)
SIGNED = ex.FieldRef("operands", "s", 16, signed=True)
SEVEN = ex.Const(7)
EXTREME = ex.Binary("<<", WIDE, ex.Const(90))


def storing(value: ex.Expression) -> Program:
    return doing(st.Assign(TARGET, value))


def hashing(
    algorithm: str, *parts: st.CalculationPart, size: ex.Expression = SEVEN, payload: bool = False
) -> Program:
    made = st.Calculation("test", algorithm, parts or (st.CalculationPart(WIDE, 64, None),), payload)
    changed = doing(st.Hash(TARGET, ex.Const(0), made, size))
    return replace(changed, calculations={**changed.calculations, "test": made})


def compared() -> Program:
    first, second = (ex.StackElement("labels", ex.Const(i)) for i in range(2))
    test = ex.Unary("b2d", ex.Binary("==", first, second))
    return doing(st.Assign(field("kind", "what", "stacks"), test), base="stacks")


def with_a_profile() -> Program:
    found = program("matches")
    name = next(name for name, table in found.tables.items() if table.keys and table.const_entries is None)
    table, ingress = replace(found.tables[name], profile="members"), found.ingress
    return replace(
        found,
        tables={**found.tables, name: table},
        ingress=replace(ingress, nodes={**ingress.nodes, name: table}),
        profiles={"members": ActionProfile("members", 16, None)},
    )


def extracting_a_varbit() -> Program:
    """Metadata are not looked at before a state that extracts to them."""
    found = program("stacks")
    op = st.Extract("kind", ex.Const(8))
    states = {name: replace(state, ops=(op, *state.ops)) for name, state in found.parser.states.items()}
    return replace(found, parser=replace(found.parser, states=states))


PART = st.CalculationPart(ex.FieldRef("operands", "what", 8), 8, "operands")

CASES: dict[str, list[Callable[[], Program]]] = {
    "exact, lpm, ternary, range, optional keys": [lambda: program("matches")],
    "const entries": [lambda: program("matches")],
    "direct counters, direct meters, idle timeouts": [lambda: program("matches")],
    "indirect counters, indirect meters": [lambda: program("state")],
    "registers": [lambda: program("state")],
    "action_run, hit, miss, exit": [lambda: program("matches")],
    "stacks, unions, next, last, push_front, pop_front": [lambda: program("stacks")],
    "parser loops, lookahead, advance, verify": [lambda: program("stacks"), lambda: program("shapes")],
    "parser value sets": [lambda: program("entities")],
    "varbit fields": [
        lambda: program("choice"),
        extracting_a_varbit,
        lambda: hashing("csum16", st.CalculationPart(WIDE, 64, None, varbit=True)),
        lambda: doing(st.AssignVarbit(TARGET, TARGET)),
    ],
    "numbers of any width": [
        lambda: program("widths"),
        lambda: storing(ex.Unary("b2d", ex.Binary("==", EXTREME, ex.Const(3)))),
    ],
    "multiplication beyond 64 bits": [
        lambda: storing(ex.Unary("b2d", ex.Binary("==", ex.Binary("*", WIDE, WIDE), ex.Const(3))))
    ],
    "shift of more than 64 bits by a variable": [
        lambda: storing(ex.Binary(">>", EXTREME, ex.FieldRef("operands", "count", 8)))
    ],
    "division of signed numbers or beyond 64 bits": [lambda: storing(ex.Binary("/", SIGNED, SIGNED))],
    "comparison of headers by a computed index": [compared],
    "csum16, xor16, xor32, crc16, crc32, crcCCITT, identity": [
        lambda: program("state"),
        *(lambda name=name: hashing(name) for name in ("xor32", "crcCCITT")),
        lambda: hashing("csum16", PART, st.CalculationPart(WIDE, 64, None)),
    ],
    "any other hash algorithm": [lambda: hashing("xxh64")],
    "a checksum or hash over the payload": [lambda: hashing("csum16", payload=True)],
    "a crc over a list with headers that may be invalid": [lambda: hashing("crc16", PART)],
    "a hash whose size has more than 64 bits": [lambda: hashing("csum16", size=EXTREME)],
    "digest, random, truncate": [lambda: program("state")],
    "log_msg, assert, assume": [
        lambda: doing(st.LogMessage("a {}", (WIDE,)), st.Check("assert", ex.BoolConst(False)))
    ],
    "log_msg of numbers beyond 191 bits": [
        lambda: doing(st.LogMessage("a {}", (ex.Binary("<<", WIDE, ex.Const(128)),)))
    ],
    "a loop in an action": [lambda: doing(st.Jump(0, WIDE))],
    "action profiles and selectors": [with_a_profile],
    "multicast groups": [lambda: program("multicast")],
    "clone": [lambda: doing(st.Clone(ex.Const(1), 0))],
    "resubmit": [lambda: doing(st.Resubmit(0))],
    "recirculate": [lambda: doing(st.Recirculate(0))],
}

TOO_WIDE = ex.Binary("*", ex.Binary("<<", WIDE, ex.Const(2100)), ex.Binary("<<", WIDE, ex.Const(2100)))


def rows() -> dict[str, tuple[str, str]]:
    table = re.findall(r"^\| ([^|]+) \| (yes|no) \| (yes|no) \|", DOCUMENT.read_text(), re.MULTILINE)
    return {construct: (interpreter, xdp) for construct, interpreter, xdp in table}


def outcome(made: Program) -> UnsupportedProgram | None:
    try:
        lower(made, lay_out(made, 2), Build(511, 510))
    except UnsupportedProgram as error:
        return error
    return None


def test_the_table_has_a_case_for_each_row() -> None:
    assert list(rows()) == list(CASES)


@pytest.mark.parametrize("construct", CASES)
def test_what_the_table_says_is_so(construct: str) -> None:
    interpreter, xdp = rows()[construct]
    for make in CASES[construct]:
        refusal = outcome(make())
        assert (refusal is None) == (xdp == "yes"), refusal
    if interpreter == "yes" and construct != "varbit fields":  # some of those programs are no programs
        for make in CASES[construct]:
            nothing = lambda *_: None  # noqa: E731
            Interpreter(make(), frames=nothing, digests=nothing, drop_port=511, clock=lambda: 0)


def _sites() -> dict[tuple[str, int], str]:
    """Where the compiler refuses, by file and line."""
    found = {}
    for path in SOURCES.glob("*.py"):
        text = path.read_text()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                name = ast.unparse(node.exc.func)
                if name.endswith(("UnsupportedProgram", "_refusal")):
                    for line in range(node.lineno, (node.end_lineno or node.lineno) + 1):
                        found[path.name, line] = ast.get_source_segment(text, node) or ""
    return found


def test_every_refusal_of_the_compiler_is_met_by_a_row() -> None:
    sites, met = _sites(), set()
    makers = [make for construct, cases in CASES.items() if rows()[construct][1] == "no" for make in cases]
    for make in [*makers, lambda: storing(ex.Unary("b2d", ex.Binary("==", TOO_WIDE, TOO_WIDE)))]:
        refusal = outcome(make())
        assert refusal is not None
        frames = [(Path(f.filename).name, f.lineno or 0) for f in traceback.extract_tb(refusal.__traceback__)]
        met |= {sites[place] for place in frames if place in sites}
    left = {text for text in sites.values() if not any(never in text for never in NEVER)} - met
    assert not left, f"no row of docs/engines.md leads to: {left}"


def test_every_extern_that_the_compiler_has_no_words_for_is_in_the_table() -> None:
    for kind, name in lowered._NAMES.items():
        words = {"a varbit field": "varbit fields"}.get(name, name)
        assert rows()[words][1] == "no", kind
